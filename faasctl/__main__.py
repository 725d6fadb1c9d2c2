"""Where `faasctl` starts and ends: every way to fail becomes an exit code and our grammar, never a traceback."""

import os
import sys
from typing import TYPE_CHECKING

from faasctl.errors import CliError, ExitCode, Problem
from faasctl.output import Screen, utf8_or_escaped

if TYPE_CHECKING:
    import click


def main() -> None:
    utf8_or_escaped()
    screen = Screen()
    try:
        code = _run(screen)
        screen.flush()
    except BrokenPipeError:  # who read our output has seen enough
        _discard_output()
        code = ExitCode.OK
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except OSError as error:
        _discard_output()
        code = _tell(screen, _cannot_write(error))
    sys.exit(code)


def _run(screen: Screen) -> int:
    import click

    from faasctl.cli import cli

    try:
        if "_FAASCTL_COMPLETE" in os.environ:  # the shell asks for completions
            cli.main(prog_name="faasctl", obj=screen)
        # Not cli.main(): it would answer Ctrl-C and a closed pipe in its own way.
        with cli.make_context("faasctl", sys.argv[1:], obj=screen) as context:
            result = cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code
    except CliError as error:
        return _tell(screen, error)
    except click.exceptions.NoArgsIsHelpError as error:
        screen.say(error.ctx.get_help() if error.ctx else "")
        return ExitCode.USAGE
    except click.UsageError as error:
        return _tell(screen, _as_usage(error))
    except click.ClickException as error:
        return _tell(screen, CliError(ExitCode.USAGE, Problem(slug="usage", detail=error.format_message())))
    except click.Abort:
        return ExitCode.INTERRUPTED
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        if os.environ.get("FAASCTL_DEBUG"):
            raise
        return _tell(screen, _internal(error))
    return int(result) if isinstance(result, int) else ExitCode.OK


def _discard_output() -> None:
    """Python flushes once more at its exit, which must not complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(screen: Screen, error: CliError) -> int:
    screen.error(error)
    return error.exit_code


def _as_usage(error: "click.UsageError") -> CliError:
    """Click's sentence in our grammar, with the page that answers the rest."""
    import click

    detail = error.format_message()
    if isinstance(error, click.NoSuchOption):
        from faasctl.words import either

        near = f"; did you mean {either(error.possibilities)}?" if error.possibilities else ""
        detail = f"no option `{error.option_name}`{near}"
    page = error.ctx.command_path if error.ctx is not None else "faasctl"
    problem = Problem(slug="usage", detail=detail.rstrip("."), help=(f"See: {page} --help",))
    return CliError(ExitCode.USAGE, problem)


def _internal(error: Exception) -> CliError:
    detail = f"faasctl itself failed: {type(error).__name__}: {error}"
    help_line = "Please report it, with what FAASCTL_DEBUG=1 in front of the same command shows."
    return CliError(ExitCode.FAILED, Problem(slug="internal", detail=detail, help=(help_line,)))


def _cannot_write(error: OSError) -> CliError:
    detail = f"cannot write the output: {error.strerror or error}"
    return CliError(ExitCode.FAILED, Problem(slug="output", detail=detail))


if __name__ == "__main__":
    main()
