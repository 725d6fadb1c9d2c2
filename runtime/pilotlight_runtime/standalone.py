"""A function's container without a control plane beside it: serves one bundle on port 8080 and prints plain lines.

    python -P LAYER/pilotlight_runtime/standalone.py

The first process is a small init: it hands on signals, collects orphans, turns the replica's log records into lines of
text, and exits as the replica did. The replica is its child and is what a zygote's child is (replica.py), with a
TCP socket to listen on.
"""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import NoReturn

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the layer, after the environment

PORT = 8080
FOREVER_SECONDS = 1e12
_STREAMS = {"o": 1, "e": 2, "s": 2}
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def main() -> int:
    variables = dict(os.environ)
    listener = _listen(int(variables.get("port") or PORT))
    reading, writing = os.pipe()
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.close(reading)
        ours.close()
        _be_replica(listener.detach(), theirs.detach(), writing)
    for number in _SIGNALS:
        signal.signal(number, lambda got, _frame: _pass_on(child, got))
    listener.close()
    theirs.close()
    os.close(writing)
    from pilotlight_runtime import launch

    launch.send(ours, order_of(variables))
    launch.send(ours, {"type": "keep"})
    _print_records(reading)
    return _collect(child)


def order_of(variables: Mapping[str, str]) -> dict[str, object]:
    """The launch message of a container: what its image says, unless the one who runs it says otherwise."""
    name = variables.get("OPENFAAS_NAME") or variables.get("PILOTLIGHT_NAME") or "function"
    secrets = variables.get("PILOTLIGHT_SECRETS") or "/var/openfaas/secrets"
    concurrency = variables.get("PILOTLIGHT_CONCURRENCY")
    return {
        "type": "launch",
        "id": socket.gethostname(),
        "function": f"{name}.{variables.get('OPENFAAS_NAMESPACE') or 'openfaas-fn'}",
        "revision": variables.get("PILOTLIGHT_REVISION", ""),
        "bundle": variables.get("PILOTLIGHT_BUNDLE") or "/home/app",
        "contract": variables.get("PILOTLIGHT_CONTRACT") or "http",
        "handler": variables.get("PILOTLIGHT_HANDLER") or "handler",
        "variables": dict(variables),
        "secrets_dir": secrets if os.path.isdir(secrets) else None,
        "memory_mib": None,  # the container's own limit is the kernel's to keep
        "open_files": 65536,
        "processes": 1_000_000,  # of all containers of this user together: the engine bounds each one
        "concurrency": int(concurrency) if concurrency else None,
        "timeout_seconds": float(variables.get("PILOTLIGHT_TIMEOUT_SECONDS") or 60.0),
        "max_stream_seconds": float(variables.get("PILOTLIGHT_MAX_STREAM_SECONDS") or 3600.0),
        "debug": variables.get("PILOTLIGHT_DEBUG") == "1",
        "idle_end_seconds": FOREVER_SECONDS,
    }


def _listen(port: int) -> socket.socket:
    """Both kinds of address where there is IPv6."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
    return socket.create_server(("", port), backlog=1024)


def _be_replica(listener: int, channel: int, log: int) -> NoReturn:
    from pilotlight_runtime.replica import Prepared, Replica

    Replica(Prepared(), listener, channel, log, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)).run()


def _print_records(reading: int) -> None:
    """Until nobody holds the other end: the replica, and what it has started."""
    from pilotlight_runtime.logs import parse_line

    with open(reading, "rb") as records:
        for line in records:
            record = parse_line(line)
            text = record.text.encode("utf-8", "backslashreplace") + b"\n"
            with contextlib.suppress(OSError):  # who reads it is gone
                os.write(_STREAMS[record.stream], text)


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def _collect(child: int) -> int:
    """The replica's exit code (128 + N for a signal), with every orphan that ended before it."""
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return 0
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
