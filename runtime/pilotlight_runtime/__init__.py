"""What runs inside every replica: the HTTP server, the handler contracts, and the zygote that replicas come from."""

__version__ = "0.1.0"
