"""``edge-rnn doctor``: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def command(
    bundle: Annotated[str | None, typer.Option(help="Also open this bundle and repeat its golden vectors.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what this machine can do with edge-rnn, what is missing, and how to get it.

    Example: edge-rnn doctor

    Ends with status 1 when a bundle cannot be run here.
    """
    from edge_rnn.cli.checkup import examine

    findings = examine(bundle)
    if as_json:
        print(json.dumps([finding.as_dict() for finding in findings], indent=2))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            print(f"{finding.mark} {finding.what:{width}}  {finding.found}")
            if finding.remedy:
                print(f"{'':{len(finding.mark) + 1 + width}}  -> {finding.remedy}")
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)
