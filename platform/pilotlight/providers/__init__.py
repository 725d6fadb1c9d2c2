"""How replicas run: one protocol (base.py), several backends behind it."""
