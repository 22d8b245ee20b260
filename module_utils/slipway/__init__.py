"""What the modules share: pure functions, tested without a host."""
