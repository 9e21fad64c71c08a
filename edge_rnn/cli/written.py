"""What export and import show: each gate as it passes, and the bundle that they wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge_rnn.cli.gate_table import gate_lines, gate_row
from edge_rnn.cli.precision import accuracy_lines

if TYPE_CHECKING:
    from edge_rnn.contract.bundle import Bundle
    from edge_rnn.contract.signature import GateFigure


def show_gate(gate: str, figure: GateFigure) -> None:
    """Show a gate as it passes, where a person watches."""
    if sys.stderr.isatty():
        print(gate_row(gate, figure), file=sys.stderr)


def show_written(bundle: Bundle, output: Path, *, json: bool, **more: object) -> None:
    """Show the bundle written to ``output``; ``more`` goes into the JSON beside its gates and accuracy."""
    manifest = bundle.manifest
    assert manifest.gates is not None
    if json:
        result = {"bundle": str(output), "name": manifest.name, "digest": bundle.digest, **more}
        result |= {"gates": manifest.gates, "precision": manifest.precision, "accuracy": manifest.accuracy}
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
        return
    for line in [*gate_lines(manifest.gates), *accuracy_lines(bundle)]:
        print(line)
    print(f"\nwrote {output}; look at it with: edge-rnn inspect {output}")
