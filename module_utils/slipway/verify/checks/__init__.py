"""Health checks, a file a kind."""
