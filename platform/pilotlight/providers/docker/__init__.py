"""Replicas as containers of a Docker engine. Start reading at provider.py, then containers.py."""

from pilotlight.providers.docker.provider import DockerProvider

__all__ = ["DockerProvider"]
