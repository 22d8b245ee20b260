"""Verification: what is asked of a system, and what may come back."""
