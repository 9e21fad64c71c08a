"""The gates' figures of every model as a Markdown table: ``python -m tests.exporters.figures``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from exporters.export import export_bundle
from tests.exporters.models import CASES, source

HIDDEN = 64


def main() -> None:
    """Export every model of the sweep and print its figures."""
    print(
        f"hidden {HIDDEN}, 256 steps of 8 streams, fp32; each figure is the largest absolute difference (its bound)\n"
    )
    print("| model | layers | head | parity | isolation | chunking | bits kept |\n|-|-|-|-|-|-|-|")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            gates = export_bundle(source(case, hidden=HIDDEN), Path(folder) / "bundle").manifest.gates
            assert gates is not None
            figures = (
                f"{f.max_abs_error:.1e} ({f.bound:.0e})" for f in (gates.parity, gates.isolation, gates.chunking)
            )
            kept = "yes" if gates.bit_stability.holds else f"no, {gates.bit_stability.max_abs_error:.0e}"
            print(f"| {case.cell} | {case.layers} | {case.task} | {' | '.join(figures)} | {kept} |", flush=True)


if __name__ == "__main__":
    main()
