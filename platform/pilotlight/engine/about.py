"""What an engine cannot do on its machine, for whoever starts a server on it. Pure."""

from collections.abc import Mapping
from typing import Any

_WITHOUT = {
    "MemoryLimit": "it keeps no memory limits: functions of Python templates watch their own memory, other images have"
    " no bound",
    "SwapLimit": "its memory limits do not count swap: a function may use as much again on disk",
    "CpuCfsQuota": "it keeps no CPU limits: `limits: cpu:` changes nothing",
    "PidsLimit": "it keeps no limit of processes: a function that forks without end takes the machine with it",
}
"""By the word with which the engine says whether it can."""


def lacks(about: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences, of what the engine's `/info` says; what it does not mention is taken to be there."""
    options = [str(option) for option in about.get("SecurityOptions") or ()]
    missing = [word for word in _WITHOUT if about.get(word) is False]
    if "MemoryLimit" in missing and "SwapLimit" in missing:
        missing.remove("SwapLimit")
    found = [_WITHOUT[word] for word in missing]
    if any(option.startswith("name=rootless") for option in options):
        found.append(
            "it runs without root: functions are called by published ports, and call no functions themselves unless"
            " docker.gateway is set"
        )
    if options and not any(option.startswith("name=seccomp") for option in options):
        found.append("it filters no system calls (seccomp): functions may use all of the kernel")
    if about.get("OSType") not in (None, "linux"):
        found.append(f"it runs containers of {about['OSType']}: functions are Linux programs")
    return tuple(found)
