"""What runs inside every replica: the HTTP server, the handler contracts, and the zygote that replicas come from.

For handlers: `call`, `Reply` and `CallFailed`, and the types of pilotlight_runtime.typing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotlight_runtime.outgoing import CallFailed, Reply, call

__all__ = ["CallFailed", "Reply", "__version__", "call"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imported when it is used: the router, too, imports from this package."""
    if name in ("CallFailed", "Reply", "call"):
        from pilotlight_runtime import outgoing

        return getattr(outgoing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
