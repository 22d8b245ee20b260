"""Dumps that are restored on trial and compared."""
