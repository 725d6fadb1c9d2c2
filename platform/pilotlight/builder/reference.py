"""The name under which a built bundle is deployed: `bundle/NAME@sha256:DIGEST`."""

import re
from typing import NamedTuple

_REFERENCE = re.compile(r"bundle/([a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)@sha256:([0-9a-f]{64})")


class Reference(NamedTuple):
    name: str
    digest: str


def reference(name: str, digest: str) -> str:
    return f"bundle/{name}@sha256:{digest}"


def parse_reference(image: str) -> Reference | None:
    """The parts of a bundle's reference; None for anything else (a container image, for example)."""
    match = _REFERENCE.fullmatch(image)
    return None if match is None else Reference(match[1], match[2])
