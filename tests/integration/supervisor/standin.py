"""Stands in for the router and for the control plane: small programs with their command lines, for the supervisor's
tests. Each writes its pid to FOLDER/NAME.pid and what happens to it to FOLDER/NAME.log.

    standin.py router FOLDER --public-fd N --metrics-fd N --settings-json JSON --lifeline-fd N
    standin.py control FOLDER --settings-json JSON (--lifeline-fd N | --stop-all)
"""

import argparse
import contextlib
import os
import signal
import socket
import sys
import threading
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stop-all", action="store_true")
    for name in ("--public-fd", "--metrics-fd", "--lifeline-fd"):
        parser.add_argument(name, type=int)
    parser.add_argument("--shelf-fds", type=int, nargs=2)
    parser.add_argument("--settings-json")
    options = parser.parse_args()
    if options.stop_all:
        note(options, "stop-all")
        return
    (options.folder / f"{options.role}.pid").write_text(str(os.getpid()))
    if (options.folder / f"{options.role}.refuse").exists():
        print("cannot run with these settings", file=sys.stderr)
        sys.exit(2)
    if (options.folder / f"{options.role}.crash").exists():
        sys.exit(3)
    listener = None if options.public_fd is None else socket.socket(fileno=options.public_fd)
    threading.Thread(target=until_lifeline_ends, args=(options,), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: end(options, "asked"))
    if (options.folder / f"{options.role}.stubborn").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if (options.folder / f"{options.role}.shelves").exists():
        shelve(options)
    note(options, "started")
    if listener is not None:
        serve(listener, options.folder / "control.log")
    threading.Event().wait()


def serve(listener: socket.socket, control_log: Path) -> None:
    """200 once there is a control plane, as a router passes on."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            status = b"200 OK" if control_log.exists() else b"503 Service Unavailable"
            connection.sendall(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)


def shelve(options: argparse.Namespace) -> None:
    """A descriptor is left for the next one; how many were left for this one is noted."""
    reading, writing = (socket.socket(fileno=number) for number in options.shelf_fds)
    reading.setblocking(False)
    found = 0
    with contextlib.suppress(BlockingIOError):
        while socket.recv_fds(reading, 1, 1)[1]:
            found += 1
    note(options, f"found {found}")
    socket.send_fds(writing, [b"."], [options.lifeline_fd])


def until_lifeline_ends(options: argparse.Namespace) -> None:
    os.read(options.lifeline_fd, 1)
    end(options, "lifeline ended")


def end(options: argparse.Namespace, why: str) -> None:
    note(options, why)
    os._exit(0)


def note(options: argparse.Namespace, what: str) -> None:
    with (options.folder / f"{options.role}.log").open("a") as file:
        file.write(f"{what}\n")


if __name__ == "__main__":
    main()
