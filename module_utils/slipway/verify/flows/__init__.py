"""Journeys: steps that hand on what they saw."""
