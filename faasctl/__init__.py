"""The command line of Pilotlight: it speaks HTTP, and imports nothing of the platform."""

__version__ = "0.1.0"
