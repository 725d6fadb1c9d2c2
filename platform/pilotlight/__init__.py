"""Pilotlight: functions that cost nothing while nobody calls them."""

__version__ = "0.1.0"
