"""``edge-rnn verify``: a bundle's proof run again, from the bundle alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge_rnn.cli.gate_table import HEADER, bits_row, failed_row, gate_row
from edge_rnn.contract.bundle import open_bundle
from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.contract.gates import GATES, report_of
from edge_rnn.contract.signature import GateFigure
from edge_rnn.contract.stepgraph import open_step_graph
from edge_rnn.contract.verification import measure_bits, measure_bundle, tolerance_of


def command(
    bundle: Annotated[Path, typer.Argument(help="Directory that export wrote.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Verify a bundle on this machine: its files, golden vectors, isolation, chunking, bit stability.

    Needs neither torch nor onnx: run it on the device that will serve the bundle.

    Example: edge-rnn verify bundles/activity
    """
    figures: dict[str, GateFigure] = {}
    try:
        opened = open_bundle(bundle)
        step = open_step_graph(opened)
        if not json:
            print(f"{opened.manifest.name}: {len(opened.manifest.files)} files as the manifest says\n\n{HEADER}")
        for gate, figure in measure_bundle(opened, step):
            figures[gate] = figure
            if not json:
                print(gate_row(gate, figure), flush=True)
        bits = measure_bits(opened, step)
    except EdgeRnnError as error:
        if json:
            _print_json({"bundle": str(bundle), "verdict": "failed", "error": str(error), "figures": figures})
        elif figures or type(error).__name__ == "GateFailed":
            print(failed_row(GATES[len(figures)]))
        raise
    if json:
        report = report_of(figures, bits, tolerance=tolerance_of(opened))
        _print_json({"bundle": str(bundle), "verdict": "passed", "digest": opened.digest, "gates": report})
    else:
        print(bits_row(bits))
        print(f"\n{bundle} is what was exported")


def _print_json(value: object) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
