"""Where `faasctl` starts and ends: every way to fail becomes an exit code and our grammar, never a traceback."""

import os
import sys

from faasctl.quick import answered, listed

_PLAINLY = {"a valid integer range": "a whole number", "a valid float range": "a number"}
"""Click's names of what our options take."""
TYPE_CHECKING = False  # as in typing, which takes as long to import as a small answer takes
if TYPE_CHECKING:
    import click

    from faasctl.errors import CliError
    from faasctl.output import Screen


def main() -> None:
    _utf8_or_escaped()
    try:
        code = 0 if answered(sys.argv[1:]) else _run()
        sys.stdout.flush()
    except BrokenPipeError:  # who read our output has seen enough
        _discard_output()
        code = 0
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        _discard_output()
        code = _cannot_write(error)
    sys.exit(code)


def _run() -> int:
    from faasctl.errors import CliError
    from faasctl.output import Screen

    screen = Screen()
    try:
        return 0 if listed(sys.argv[1:], screen) else _parsed(screen)
    except CliError as error:
        return _tell(screen, error)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        if os.environ.get("FAASCTL_DEBUG"):
            raise
        return _tell(screen, _internal(error))


def _parsed(screen: "Screen") -> int:
    """What click makes of the words."""
    import click

    from faasctl.cli import cli
    from faasctl.errors import ExitCode, usage

    try:
        # Not cli.main(): it would answer Ctrl-C and a closed pipe in its own way.
        with cli.make_context("faasctl", sys.argv[1:], obj=screen) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        screen.say(error.ctx.get_help() if error.ctx else "")
        return ExitCode.USAGE
    except click.UsageError as error:
        return _tell(screen, _as_usage(error))
    except click.ClickException as error:
        return _tell(screen, usage(error.format_message()))
    except click.Abort:
        return ExitCode.INTERRUPTED
    return int(result) if isinstance(result, int) else ExitCode.OK


def _discard_output() -> None:
    """Python flushes once more at its exit, which must not complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _utf8_or_escaped() -> None:
    """Output in a locale without UTF-8 shows `\\u2713` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _tell(screen: "Screen", error: "CliError") -> int:
    screen.json = screen.json or "--json" in sys.argv[1:]  # what is wrong may stand before it
    screen.error(error)
    return error.exit_code


def _as_usage(error: "click.UsageError") -> "CliError":
    """Click's sentence in our grammar, with the page that answers the rest."""
    import click

    from faasctl.errors import usage

    detail = error.format_message()
    if isinstance(error, click.NoSuchOption):
        from faasctl.words import either

        near = f"; did you mean {either(error.possibilities)}?" if error.possibilities else ""
        detail = f"no option `{error.option_name}`{near}"
    for words, plain in _PLAINLY.items():
        detail = detail.replace(words, plain)
    page = error.ctx.command_path if error.ctx is not None else "faasctl"
    help_lines = [f"See: {page} --help"]
    examples = getattr(error.ctx.command, "examples", ()) if error.ctx is not None else ()
    if isinstance(error, click.MissingParameter) and examples:
        help_lines.insert(0, f"For example: {examples[0]}")
    return usage(detail.rstrip("."), *help_lines)


def _internal(error: Exception) -> "CliError":
    from faasctl.errors import failed

    help_line = "Please report it, with what FAASCTL_DEBUG=1 in front of the same command shows."
    return failed("internal", f"faasctl itself failed: {type(error).__name__}: {error}", help_line)


def _cannot_write(error: OSError) -> int:
    from faasctl.errors import failed
    from faasctl.output import Screen

    told = failed("output", f"cannot write the output: {error.strerror or error}", "Make room, or write elsewhere.")
    return _tell(Screen(), told)


if __name__ == "__main__":
    main()
