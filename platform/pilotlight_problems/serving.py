"""Why a server does not start; said on its own terminal."""

from pilotlight_problems import Row

ROWS = (
    Row(
        "port-in-use", 0, 1,
        "The server's port is in use by another program.",
        "As a rule another server of the same kind; 8080 is popular.",
        "Stop that one, or choose another port: --port N, --metrics-port N (0 takes a free one).",
    ),
    Row(
        "port-unusable", 0, 1,
        "The server cannot listen at its address.",
        "The address is not one of this machine, or the port needs rights that the user lacks.",
        "Choose another: --host ADDRESS, --port N",
    ),
    Row(
        "data-dir-in-use", 0, 1,
        "Another server uses the data directory.",
        "A data directory belongs to one server at a time.",
        "Stop that server, or give this one its own: --data-dir DIR",
    ),
    Row(
        "data-dir-unusable", 0, 1,
        "The data directory cannot be made or written.",
        "It belongs to another user, is on a read-only or full disk, or its path leads through a file.",
        "Choose another: --data-dir DIR",
    ),
    Row(
        "sockets-unusable", 0, 1,
        "A service manager passed sockets that cannot be served.",
        "LISTEN_FDS is set, and the descriptors are not listening TCP sockets: the public one, then that for metrics.",
        "See deploy/systemd for a socket unit that works.",
    ),
    Row(
        "invalid-setting", 0, 1,
        "A setting of the server is unknown, or cannot be as it is.",
        "A misspelt name after --set, a value of the wrong kind, or something on this machine that is not there.",
        "Correct the setting that the error names; platform/pilotlight/config.py describes them all.",
    ),
)  # fmt: skip
