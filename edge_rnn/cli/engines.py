"""What export does for ``--target tensorrt``: the call is checked first, then engines are built from the bundle written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_rnn.cli.precision import MAX_DROP
from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.plans import TOLERANCES, EnginePrecision, engines_folder

if TYPE_CHECKING:
    from edge_rnn.contract.bundle import Bundle
    from edge_rnn.contract.tensorrt import Library
    from exporters.tensorrt.ahead import Engine

TARGETS = ("onnx", "tensorrt")


@dataclass(frozen=True)
class Ahead:
    """Engines that are wanted, of a call that was checked."""

    library: Library
    gpu: str
    cache_dir: Path
    precision: EnginePrecision
    calibration: Path | None
    max_drop: float

    def build(self, bundle: Bundle) -> list[Engine]:
        """The engines of a bundle; see `exporters.tensorrt.ahead.build_engines`."""
        from exporters.tensorrt.ahead import build_engines

        return build_engines(
            bundle,
            self.library,
            self.gpu,
            self.cache_dir,
            precision=self.precision,
            calibration=self.calibration,
            max_drop=self.max_drop,
        )


def ahead_of(
    target: str,
    gpu: str | None,
    cache_dir: Path | None,
    precision: str,
    *,
    calibration: Path | None = None,
    max_drop: float | None = None,
    weight_bits: int | None = None,
) -> Ahead | None:
    """What ``--target`` asks for beside the bundle. Raises `UsageError`, `MissingDependency`."""
    if target not in TARGETS:
        raise UsageError(f"--target is {target!r}, expected {' or '.join(TARGETS)}")
    if target == "onnx":
        if given := [flag for flag, value in {"--gpu": gpu, "--cache-dir": cache_dir}.items() if value is not None]:
            raise UsageError(f"{given[0]} goes with --target tensorrt")
        return None
    if precision not in TOLERANCES:
        raise UsageError(f"--precision is {precision!r}, engines are in {', '.join(TOLERANCES)}")
    if weight_bits is not None:
        raise UsageError("--weight-bits is for the CPU; engines in int8 have weights of 8 bits")
    if calibration is not None and precision != "int8":
        raise UsageError("--calibration goes with --precision int8")
    from edge_rnn.contract.tensorrt import find_library

    library = find_library()
    return Ahead(
        library,
        library.check_gpu(gpu),
        engines_folder() if cache_dir is None else cache_dir,
        precision,
        calibration,
        MAX_DROP if max_drop is None else max_drop,
    )


def show_engines(bundle: Bundle, engines: list[Engine]) -> None:
    """A line for each engine, and the layers of the smallest chunk's."""
    from exporters.tensorrt.inspection import table

    first = engines[0].key
    print(f"\nengines for {first.gpu} by {first.builder} {first.version}, {first.precision}, not run here")
    for engine in engines:
        found, how = engine.inspection, "built" if engine.built else "found"
        print(
            f"  chunk of {engine.key.chunk:>2}: {how}, {engine.plan_bytes:,} bytes, {len(found.layers)} layers,"
            f" {found.fused} of several operators, {found.loops} of a loop"
        )
    print(f"\nchunk of {first.chunk}:")
    for line in table(engines[0].inspection, bundle.manifest):
        print(f"  {line}")
    print(f"\nkept in {Path(engines[0].path).parent}")
