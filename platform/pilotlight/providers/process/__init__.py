"""Replicas as processes of this machine, forked from warm zygotes. Start reading at provider.py, then starting.py."""

from pilotlight.providers.process.provider import ProcessProvider

__all__ = ["ProcessProvider"]
