"""Keeping secrets out of whatever is shown or kept."""
