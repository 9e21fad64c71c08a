"""``edge-rnn deploy``: from a bundle to a fleet of devices, and back. One command a file, imported when asked for."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

COMMANDS = {
    "build": "build",
    "push": "push",
    "up": "up",
    "status": "status",
    "pending": "pending",
    "rollback": "rollback",
    "logs": "logs",
    "audit": "audit",
    "exec": "exec_",
    "prune": "prune",
    "unlock": "unlock",
    "render": "render",
}
"""Command name to its module under ``edge_rnn.cli.deploy``; its ``command`` is the function."""


class DeployGroup(TyperGroup):
    """Imports a command's module only when it is asked for, or listed by ``--help``."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which they are met."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command's object, or ``None`` when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"edge_rnn.cli.deploy.{COMMANDS[cmd_name]}")
        one = typer.Typer(add_completion=False, rich_markup_mode=None)
        settings = getattr(module, "CONTEXT", None)
        one.command(cmd_name, context_settings=settings)(module.command)
        return typer.main.get_command(one)


app = typer.Typer(cls=DeployGroup, add_completion=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def root() -> None:
    """Bring a bundle to a fleet of devices over ssh, wave by wave, gated on the model; and back.

    Example: edge-rnn deploy up out/ --fleet fleet.toml --canary 5%
    """
