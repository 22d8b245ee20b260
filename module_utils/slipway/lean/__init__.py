"""Modules of ours on a host without AnsiballZ."""
