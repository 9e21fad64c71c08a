"""The imports' table: ``python -m tests.exporters.foreign [--write docs/import.md]``.

Each file is taken out of its package, imported, and its bundle compared bit by bit with a plain
loop over the file; ``--write`` puts the table between ``<!-- imports -->`` and ``<!-- /imports -->``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from edge_rnn.contract.errors import EdgeRnnError
from tests.exporters.foreign.packages import FILES, fetched_path
from tests.exporters.foreign.plain import import_file, same_bits

START, END = "<!-- imports -->", "<!-- /imports -->"
HEAD = "| file | inputs | states | a call takes | beside a plain loop over the file |\n|-|-|-|-|-|"


def main() -> int:
    """Print the table; 1 if a file did not do what it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="page to put the table into")
    parser.add_argument("--cache", type=Path, default=Path(".cache/foreign"), help="where packages are kept")
    args = parser.parse_args()
    lines, failed = [HEAD], 0
    with tempfile.TemporaryDirectory() as folder:
        for file in FILES:
            path = fetched_path(file, args.cache)
            try:
                imported = import_file(path, file, Path(folder) / "bundle")
            except EdgeRnnError as error:
                told = str(error).partition("; tried")[0].partition(": ")[2]
                lines.append(f"| {file.title} | | | | refused: {told} |")
                failed += not file.refused
            else:
                manifest, layout = imported.bundle.manifest, imported.reading.layout
                inputs = "; ".join(f"{name} [{', '.join(map(str, roles))}]" for name, roles in layout.inputs.items())
                inputs += "".join(f"; {constant.name} = {constant.value}" for constant in manifest.constants)
                states = ", ".join(f"{state.input} → {state.output}" for state in manifest.states) or "none"
                taken = ("one stream" if layout.one_stream else "any streams") + (
                    ", any steps" if layout.has_time else ", one step"
                )
                same = same_bits(path, imported)
                failed += not same or bool(file.refused)
                lines.append(f"| {file.title} | {inputs} | {states} | {taken} | {'every bit' if same else 'DIFFERS'} |")
            print(lines[-1], file=sys.stderr)
    table = "\n".join(lines)
    if args.write is None:
        print(table)
    else:
        text = args.write.read_text()
        before, _, rest = text.partition(START)
        _, _, after = rest.partition(END)
        args.write.write_text(f"{before}{START}\n{table}\n{END}{after}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
