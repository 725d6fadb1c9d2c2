"""A function's secrets, wherever it runs: files in the folder of `PILOTLIGHT_SECRETS`, or in OpenFaaS' own place."""

import contextlib
import os

FOLDER = "/var/openfaas/secrets"


def read_secret(name: str) -> bytes:
    """The value; LookupError, which names those that there are, when the function has no such secret."""
    folder = os.environ.get("PILOTLIGHT_SECRETS", FOLDER)
    try:
        there = sorted(os.listdir(folder))
    except OSError:
        there = []
    if name not in there:
        has = f"it has {', '.join(there)}" if there else "it has none"
        raise LookupError(f"the function has no secret {name!r} ({has}); name it under `secrets:` in stack.yaml")
    with open(os.path.join(folder, name), "rb") as file:
        return file.read()


def remove_secrets(folder: str) -> None:
    """All that may be removed of them: the folder itself lies among those of other replicas."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
