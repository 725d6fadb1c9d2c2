from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilotlight_runtime.typing import Context, Event, Result


def handle(event: Event, context: Context) -> Result:
    name = event.body.decode().strip() or "world"
    return f"Hello, {name}!\n"
