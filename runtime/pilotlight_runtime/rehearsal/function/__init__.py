"""The function that a spare rehearses with."""
