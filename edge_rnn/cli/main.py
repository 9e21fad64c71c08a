"""Entry point of the command: finds the subcommand lazily and turns every failure into one line.

Exit status: 0 done, 2 the call or the configuration is wrong, 1 anything else. A traceback is
printed only when ``EDGE_RNN_DEBUG`` is set.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edge_rnn.contract.errors import EdgeRnnError

COMMANDS = {
    "demo": "demo",
    "train": "train",
    "export": "export",
    "import": "import_",
    "verify": "verify",
    "inspect": "inspect",
    "run": "run",
    "produce": "produce",
    "replay": "replay",
    "generate": "generate",
    "state": "state",
    "deploy": "deploy",
    "bench": "bench",
    "doctor": "doctor",
}
"""Command name to its module under ``edge_rnn.cli``; its ``command`` is the function, or its ``app`` has several."""


INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 + SIGINT."""


class LazyGroup(TyperGroup):
    """Imports a subcommand's module only when that subcommand is asked for (or listed by ``--help``)."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, in the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command's object, or ``None`` when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"edge_rnn.cli.{COMMANDS[cmd_name]}")
        if hasattr(module, "app"):
            found = typer.main.get_command(module.app)
            found.name = cmd_name
            return found
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(cmd_name)(module.command)
        return typer.main.get_command(app)


app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode=None, no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"edge-rnn {version('edge-rnn')}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run recurrent networks over streams, one hidden state per stream.

    Train an RNN, export it as a step graph, run it as a daemon over Kafka or an embedded broker.

    Example: edge-rnn demo
    """


def main() -> None:
    """Run the command line and end the process with its exit status."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit status. Messages go to standard error."""
    try:
        from edge_rnn.cli.origin import check_origin

        check_origin()
        status = typer.main.get_command(app).main(args=arguments, prog_name="edge-rnn", standalone_mode=False)
        if status == INTERRUPTED:  # typer turns Ctrl-C into this status and says nothing
            return _fail("interrupted", INTERRUPTED)
        return status if isinstance(status, int) else 0
    except EdgeRnnError as error:
        return _fail(error, error.exit_status)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # a usage error of typer's own click
            hint = f"; see edge-rnn {arguments[0]} --help" if arguments and arguments[0] in COMMANDS else ""
            return _fail(f"{error.format_message()}{hint}", error.exit_code)
        if os.environ.get("EDGE_RNN_DEBUG"):
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        return _fail(
            f"internal error: {type(error).__name__}: {first}; set EDGE_RNN_DEBUG=1 for the traceback and report it", 1
        )


def _fail(what: object, status: int) -> int:
    print(f"edge-rnn: {' '.join(str(what).split())}", file=sys.stderr)
    return status
