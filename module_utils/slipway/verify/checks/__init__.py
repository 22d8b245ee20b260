"""Health checks, one file for each kind."""
