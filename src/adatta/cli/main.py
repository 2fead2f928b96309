"""The `adatta` command: one file a command in cli/commands, and the border where errors become exit codes."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from adatta import __version__
from adatta.core.errors import AdattaError, UserError
from adatta.core.registry import load_registry

ORDER = (
    "init",
    "check",
    "show",
    "run",
    "eval",
    "compare",
    "chat",
    "complete",
    "classify",
    "export",
    "publish",
    "doctor",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"adatta {__version__}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """Assemble the commands found in cli/commands.

    Returns:
        The typer application; commands stand in the order of use, new ones after them.
    """
    app = typer.Typer(
        name="adatta",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        """Make an open instruct model better at Italian, with proof: one recipe, one command, a report."""

    commands = load_registry("adatta.cli.commands")
    for name in (*ORDER, *(name for name in commands if name not in ORDER)):
        app.command(name)(commands[name])
    return app


def main() -> None:
    """Run the command line; errors of ours become one message and their exit code, without a traceback."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        if wrong := [given for given in sys.argv if given.encode("utf-8", "replace").decode() != given]:
            raise UserError(f"{wrong[0]!r} is no UTF-8; set the terminal and the locale to UTF-8")
        build_app()()
    except AdattaError as error:
        print(f"adatta: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:  # a full disk shows as an error of whichever library writes
        if "No space left on device" not in str(error):
            raise
        print(f"adatta: {error}; make room and give the same command again: it goes on", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
