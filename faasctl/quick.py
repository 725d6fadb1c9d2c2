"""Answers that need no parser, given before click is imported (half of a command's time): the version, the first page
of help, the completions that a shell asks for at every Tab, and the plain list of functions."""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from faasctl.output import Screen


def answered(words: list[str]) -> bool:
    """Whether these words were answered here."""
    match words:
        case ["version" | "--version"]:
            from faasctl import __version__

            text = f"faasctl {__version__}\n"
        case ["--help" | "-h" | "help"]:
            from faasctl.menu import first_page

            text = first_page()
        case ["__complete", *typed]:
            from faasctl.completion import complete

            text = "".join(f"{word}\n" for word in complete(typed))
        case _:
            return False
    sys.stdout.write(text)
    return True


def listed(words: list[str], screen: "Screen") -> bool:
    """Whether these words were a plain `faasctl list`, and it was printed; raises CliError."""
    command, *flags = words or [""]
    if command not in ("list", "ls") or not set(flags) <= {"--json", "-j", "-q", "-v"}:
        return False
    import os

    from faasctl.client import Client
    from faasctl.config import server_here
    from faasctl.listing import show

    screen.json = bool({"--json", "-j"} & set(flags))
    show(screen, Client(server_here(None, os.environ)), quiet="-q" in flags, verbose="-v" in flags)
    return True
