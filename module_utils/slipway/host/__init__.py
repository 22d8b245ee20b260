"""What a host has and who is at work on it."""
