"""What export and import do for ``--precision``: the bundle in fp32 first, proved, then the other one from it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge_rnn.contract.errors import UsageError

if TYPE_CHECKING:
    from edge_rnn.contract.bundle import Bundle

PRECISIONS = ("fp32", "int8", "fp16")
MAX_DROP = 0.05

STREAMS = "streams.csv"
"""Held-out streams that a run keeps."""


def made_in(
    precision: str,
    output: Path,
    make: Callable[[Path], Bundle],
    *,
    calibration: Path | None,
    max_drop: float | None,
    weight_bits: int | None,
) -> Bundle:
    """The bundle that ``make`` writes to a path, in the precision asked for."""
    if precision not in PRECISIONS:
        raise UsageError(f"--precision is {precision!r}, expected {' or '.join(PRECISIONS)}")
    if precision == "fp32":
        flags = {"--calibration": calibration, "--max-drop": max_drop, "--weight-bits": weight_bits}
        if given := [flag for flag, value in flags.items() if value is not None]:
            raise UsageError(f"{given[0]} goes with --precision int8 or fp16")
        return make(output)
    from exporters.precision.convert import Precision, Wanted, convert_bundle

    wanted = Wanted(
        cast(Precision, precision),
        calibration,
        MAX_DROP if max_drop is None else max_drop,
        0 if weight_bits is None else weight_bits,
    )
    with tempfile.TemporaryDirectory(prefix="edge-rnn-fp32-") as folder:
        return convert_bundle(make(Path(folder) / "fp32"), output, wanted)


def accuracy_lines(bundle: Bundle) -> list[str]:
    """What a lower precision does, for a person."""
    accuracy = bundle.manifest.accuracy
    if accuracy is None:
        return []
    meaning = "of deviation" if bundle.manifest.outputs[0].kind == "values" else "other decisions"
    rows = [("golden vectors", accuracy.golden), (accuracy.source, accuracy.calibration)]
    return [
        f"{bundle.manifest.precision} beside fp32, {accuracy.weight_bits}-bit weights",
        *(
            f"  {name}: {figure.drop:.2%} {meaning}, largest error {figure.max_abs_error:.2g}"
            f" (rms {figure.rms_error:.2g}, {figure.steps} steps)"
            for name, figure in rows
        ),
    ]
