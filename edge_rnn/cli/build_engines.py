"""The engines of a bundle that is there already: ``python -m edge_rnn.cli.build_engines BUNDLE --cache-dir DIR [--gpu sm_89]``.

What a device runs at its first start, and for itself where no ``--gpu`` is given. Prints a line for each engine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edge_rnn.contract.bundle import open_bundle
from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.contract.plans import TOLERANCES, engines_folder
from edge_rnn.contract.tensorrt import find_library, present_gpu
from exporters.tensorrt.ahead import build_engines


def main(call: list[str] | None = None) -> int:
    """0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m edge_rnn.cli.build_engines", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cache-dir", type=Path, default=engines_folder())
    parser.add_argument("--gpu", help="the default is the GPU that is present")
    parser.add_argument("--precision", choices=list(TOLERANCES), default="fp32")
    parser.add_argument("--calibration", type=Path, help="sequences for int8; the default is drawn ones")
    given = parser.parse_args(call)
    try:
        gpu = given.gpu or present_gpu()
        engines = build_engines(
            open_bundle(given.bundle),
            find_library(),
            gpu,
            given.cache_dir,
            precision=given.precision,
            calibration=given.calibration,
        )
        for engine in engines:
            how = "built" if engine.built else "found"
            print(f"{engine.key.gpu} chunk of {engine.key.chunk}: {how}, {engine.plan_bytes:,} bytes", flush=True)
    except EdgeRnnError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
