"""The application's own migrations: what is pending, applied, taken back."""
