"""How many replicas: pure functions of the load, with the reason of each answer."""
