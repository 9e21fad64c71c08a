"""The table of engines: ``python -m tests.exporters.tensorrt [--gpu sm_80 ...] [--write docs/gpu.md]``.

Each of the house's models and each kind of the zoo is decomposed, built for every GPU and precision, and inspected;
``--write`` puts the table between the marks ``<!-- engines -->`` and ``<!-- /engines -->`` of a page.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.contract.plans import TOLERANCES
from edge_rnn.contract.tensorrt import Library, find_library
from exporters.decompose.chunk import decompose_bundle
from exporters.export import export_bundle
from exporters.inputs import parse_input
from exporters.source import Source
from exporters.tensorrt.build import build_engine
from exporters.tensorrt.lower import calibration_of, largest_inputs, lower_chunk
from tests.exporters.models import CELLS, Case, source
from tests.exporters.zoo.cases import EXPORTED

GPUS = ("sm_80", "sm_86", "sm_89", "sm_120")
TYPES = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8"}
START, END = "<!-- engines -->", "<!-- /engines -->"


def main() -> int:
    """Print the table; 1 if an engine did not build, or is not what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", nargs="*", default=list(GPUS))
    parser.add_argument("--write", type=Path, help="page to put the table into")
    given = parser.parse_args()
    library, began, failed, count = find_library(), time.monotonic(), 0, 0
    lines = [
        "| model | states | layers of one step, of several operators | " + " | ".join(TOLERANCES) + " |",
        "|-|-|-|" + "-|" * len(TOLERANCES),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, bundle in _bundles(Path(folder)):
            told, built, wrong = _row(library, bundle, given.gpu)
            lines.append(f"| {name} | {len(bundle.manifest.states)} | {told} |")
            count, failed = count + built, failed + wrong
            print(lines[-1], file=sys.stderr, flush=True)
    lines += [
        "",
        f"{count} engines by {library.name} {library.version} for {', '.join(given.gpu)}: {failed} failed, none has a loop."
        f" A cell tells how many of these GPUs it was built for, and the bytes of the largest engine.",
    ]
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if given.write is None:
        print("\n".join(lines))
    else:
        before, _, rest = given.write.read_text().partition(START)
        _, _, after = rest.partition(END)
        given.write.write_text(f"{before}{START}\n" + "\n".join(lines) + f"\n{END}{after}")
    return int(failed > 0)


def _bundles(folder: Path) -> Iterator[tuple[str, Bundle]]:
    for cell in CELLS:
        yield f"{cell}, 2 layers", export_bundle(source(Case(cell, 2, "regression")), folder / cell)
    for number, kind in enumerate(EXPORTED):
        specs = [parse_input(text) for text in kind.inputs]
        path = folder / str(number)
        yield kind.name, export_bundle(Source(kind.module(), "zoo", {}), path, inputs=specs, states=kind.states)


def _row(library: Library, bundle: Bundle, gpus: list[str]) -> tuple[str, int, int]:
    """The cells of a model, and how many engines were built and how many are wrong."""
    graph, largest = decompose_bundle(bundle, 1), largest_inputs(bundle, calibration_of(bundle, None))
    shape, cells, count, failed = "", [], 0, 0
    for precision, kind in TYPES.items():
        sizes = []
        for gpu in gpus:
            try:
                built = build_engine(library, lower_chunk(graph, precision, largest), gpu)  # type: ignore[arg-type]
            except EdgeRnnError as error:
                print(f"{bundle.manifest.name} {precision} {gpu}: {error}", file=sys.stderr)
                failed += 1
                continue
            found = built.inspection
            shape = shape or f"{len(found.layers)}, {found.fused}"
            if found.loops or (largest and all(kind not in layer.types for layer in found.layers)):
                print(f"{bundle.manifest.name} {precision} {gpu}: no layer in {kind}, or a loop", file=sys.stderr)
                failed += 1
                continue
            sizes.append(len(built.plan))
        count += len(sizes)
        cells.append(f"{len(sizes)}, {max(sizes, default=0):,}")
    return f"{shape} | {' | '.join(cells)}", count, failed


if __name__ == "__main__":
    sys.exit(main())
