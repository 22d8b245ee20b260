"""Indexes as declared state."""
