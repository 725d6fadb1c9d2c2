"""What a running container uses, as its engine counts it; in threads."""

from typing import TYPE_CHECKING, Any

from pilotlight.providers.base import Usage

if TYPE_CHECKING:
    from docker import APIClient

ONE_SHOT_SINCE = (1, 41)
"""Before this version of its API an engine takes two seconds to answer."""


def read_usage(client: "APIClient", container: str) -> Usage | None:
    version = tuple(int(part) for part in client.api_version.split("."))
    one_shot = True if version >= ONE_SHOT_SINCE else None
    stats: dict[str, Any] = client.stats(container, stream=False, one_shot=one_shot)
    return usage_of(stats)


def usage_of(stats: dict[str, Any]) -> Usage | None:
    """None of a container that does not run. Memory is what cannot be dropped: without the page cache that nobody has
    used for a while, as the engine's own tools count it."""
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    details = memory.get("stats") or {}
    idle = details.get("total_inactive_file", details.get("inactive_file", 0))
    nanoseconds = stats["cpu_stats"]["cpu_usage"]["total_usage"]
    return Usage(cpu_seconds=nanoseconds / 1e9, memory_mib=max(0, memory["usage"] - idle) / 2**20)
