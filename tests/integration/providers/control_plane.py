"""A control plane that does nothing but start replicas and say so, to be killed at any moment.

control_plane.py INSTALLATION DATA_DIR PREFIX
"""

import asyncio
import sys
from pathlib import Path

import structlog

from pilotlight.config import Settings, sandbox_user
from tests.provider_support import POOL, Installation, a_launch


async def main() -> None:
    root, data_dir, prefix = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    provider = Installation(root, sandbox_user(Settings(data_dir=data_dir))).provider(data_dir)
    await provider.open()
    await provider.prepare(POOL, 1)
    for number in range(1000):
        print(f"asked {prefix}{number}", flush=True)
        await provider.start(a_launch(f"{prefix}{number}", secrets={"key": b"value"}))
        print(f"started {prefix}{number}", flush=True)
        if number >= 3:
            await provider.stop(f"{prefix}{number - 3}", grace_seconds=2)
            print(f"stopped {prefix}{number - 3}", flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main())
