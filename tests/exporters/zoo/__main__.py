"""The zoo's table: ``python -m tests.exporters.zoo [--write docs/export.md]``.

Every kind is exported and compared with its module, or refused; ``--write`` puts the table between
the marks ``<!-- zoo -->`` and ``<!-- /zoo -->`` of a page.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from edge_rnn.contract.errors import EdgeRnnError, ExportRefused
from tests.exporters.zoo.cases import EXPORTED, REFUSED
from tests.exporters.zoo.trial import export_and_compare

START, END = "<!-- zoo -->", "<!-- /zoo -->"


def main() -> int:
    """Print the table; 1 if a kind did not do what it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="page to put the table into")
    page = parser.parse_args().write
    lines, failed = [], 0
    lines.append("| kind of module | states | parity: steps, error per unit of the largest value |")
    lines.append("|-|-|-|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in EXPORTED:
            try:
                outcome = export_and_compare(kind, Path(folder) / "bundle")
                manifest = outcome.bundle.manifest
                notes = sorted({spec.note for spec in manifest.outputs if spec.note})
                told = f"{outcome.steps}, {outcome.error:.0e}{''.join(f' ({note})' for note in notes)}"
                lines.append(f"| {kind.name} | {', '.join(state.name for state in manifest.states)} | {told} |")
            except EdgeRnnError as error:
                failed += 1
                lines.append(f"| {kind.name} | | FAILED: {error} |")
            print(lines[-1], file=sys.stderr)
        lines += ["", "| refused | what it says |", "|-|-|"]
        for kind in REFUSED:
            try:
                export_and_compare(kind, Path(folder) / "bundle")
                failed += 1
                lines.append(f"| {kind.name} | FAILED: it was exported |")
            except ExportRefused as error:
                lines.append(f"| {kind.name} | {error} |")
            print(lines[-1], file=sys.stderr)
    lines += ["", f"{len(EXPORTED) + len(REFUSED)} kinds: {len(EXPORTED)} exported, {len(REFUSED)} refused."]
    table = "\n".join(lines)
    if page is None:
        print(table)
    else:
        text = page.read_text()
        before, _, rest = text.partition(START)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{START}\n{table}\n{END}{after}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
