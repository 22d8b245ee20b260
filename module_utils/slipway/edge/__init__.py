"""nginx: which colour it points at, and what is seen through it."""
