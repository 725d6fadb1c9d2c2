"""The script that an environment's interpreter is started with: it puts the runtime beside the environment.

The layer goes to the end of `sys.path`, so that the environment's own modules win. Run with `-P`, so that the folder
of this file is not at its beginning.
"""

import os
import sys


def _main() -> None:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    program, *arguments = sys.argv[1:]
    if program != "zygote":
        raise SystemExit(f"bootstrap.py: there is no program {program!r}")
    from pilotlight_runtime import zygote

    zygote.main(arguments)


if __name__ == "__main__":
    _main()
