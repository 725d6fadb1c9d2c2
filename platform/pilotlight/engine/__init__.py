"""A Docker engine as the provider and the builder see it: its calls, its streams, and what it says when it refuses."""

from pilotlight.engine.client import (
    Engine,
    EngineEvent,
    EventStream,
    FrameStream,
    Watcher,
    address_of,
    connect,
)
from pilotlight.engine.failures import Refused

__all__ = ["Engine", "EngineEvent", "EventStream", "FrameStream", "Refused", "Watcher", "address_of", "connect"]
