"""Kills what a build left running: whatever has its mark among the variables that it was started with.

A process's variables can be read by its own user, but not by a root that lacks CAP_SYS_PTRACE, as in most containers.
So where builds have a user of their own, this runs as that user (as `-c`, the mark is its argument); elsewhere it is
imported. A pidfd is taken before looking, so that a number given anew is never meant.
"""

import os
import signal
import sys


def kill_marked(mark: str) -> None:
    """Every process that has a variable beginning with the mark, or with the mark and a slash."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            pidfd = os.pidfd_open(int(name))
        except OSError:
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                variables = file.read().split(b"\0")
            if any(f"{variable.decode(errors='replace')}/".startswith(mark) for variable in variables):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(pidfd)


if __name__ == "__main__":
    kill_marked(sys.argv[1])
