"""What the inventory declares, and whether it makes sense."""
