"""What the engine is asked for to make a spare, and what its labels tell the next control plane. Pure."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from pilotlight.config import DockerSettings
from pilotlight.providers.base import Limits, Pool
from pilotlight.providers.docker.berths import Berth, is_zygote_id
from pilotlight.providers.docker.containers import (
    BOOTSTRAP,
    FUNCTION_DIR,
    NO_LABELS,
    NODE,
    OWNER,
    POOL,
    PRIME,
    PROVIDER_DIR,
    PYTHON,
    SECRETS_DIR,
    ZYGOTE,
    hardened,
    mount,
    user_of,
)


def name_of_spare(owner: str, zygote: str) -> str:
    return f"pilotlight-{owner}-pool-{zygote}"


def spare_creation(
    pool: Pool,
    berth: Berth,
    image: Mapping[str, Any],
    *,
    owner: str,
    node: str,
    network: str,
    idle_end_seconds: float,
    options: DockerSettings,
) -> dict[str, Any]:
    """The body of the engine's `POST /containers/create`. `image` is what the engine says of the environment's image.

    No port and no init: the zygote is reached by nobody and collects its orphans itself."""
    config = {
        "environment": pool.environment,
        "namespace": pool.namespace,
        "preimports": list(pool.preimports),
        "prime": PRIME,
        "spares": 1,
        "idle_end_seconds": idle_end_seconds,
    }
    host = hardened(Limits(), network, pool.memory_mib or options.memory_mib, pool.devices, options)
    host["Mounts"] = [
        mount(berth.socket_dir, PROVIDER_DIR),
        mount(berth.bundle_dir, FUNCTION_DIR),
        mount(berth.secrets_dir, SECRETS_DIR),
    ]
    return {
        "Image": image["Id"],
        "Hostname": "function",
        "User": user_of(image, options),
        "Env": [f"{name}={value}" for name, value in pool.variables],
        "Labels": NO_LABELS
        | {
            OWNER: owner,
            ZYGOTE: berth.id,
            NODE: node,
            POOL: msgspec.json.encode(pool).decode(),
        },
        "Healthcheck": {"Test": ["NONE"]},
        "Entrypoint": [PYTHON, "-P", BOOTSTRAP, "zygote"],
        "Cmd": ["--dial", f"{PROVIDER_DIR}/zygote.sock", "--config", json.dumps(config)],
        "WorkingDir": "/",
        "HostConfig": host,
    }


def spare_of(inspected: Mapping[str, Any]) -> tuple[str, Pool] | None:
    """The zygote's id and its pool, if the container came from a pool."""
    labels = inspected["Config"].get("Labels") or {}
    if not is_zygote_id(labels.get(ZYGOTE, "")):
        return None
    try:
        return labels[ZYGOTE], msgspec.json.decode(labels[POOL], type=Pool)
    except (KeyError, msgspec.MsgspecError):
        return None
