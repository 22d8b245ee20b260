"""What the inventory declares, and whether it can be meant."""
