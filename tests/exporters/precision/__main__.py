"""The figures of int8: ``python -m tests.exporters.precision [--write docs/export.md]``.

Size, speed and error of bundles in int8 beside the same in fp32, one thread, CPU time of the least of
several rounds that alternate; ``--write`` puts the table between ``<!-- int8 -->`` and ``<!-- /int8 -->``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from torch import nn

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.stepgraph import first_states
from exporters.precision.convert import Wanted, convert_bundle
from tests.exporters.precision.models import fp32_bundle

START, END = "<!-- int8 -->", "<!-- /int8 -->"
SHAPES = ((1, 1), (1, 64), (16, 1), (16, 64))
"""Steps and streams of a call."""

ROUNDS = 9


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="page to put the table into")
    page = parser.parse_args().write
    head = " | ".join(f"{steps} step{'s' if steps > 1 else ''} × {batch}" for steps, batch in SHAPES)
    lines = [f"| model | smaller | {head} | error per deviation |", f"|-|-|{'-|' * len(SHAPES)}-|"]
    with tempfile.TemporaryDirectory() as folder:
        for kind in (nn.LSTM, nn.GRU):
            for hidden in (256, 512):
                exact = fp32_bundle(Path(folder) / "fp32", kind, hidden, features=hidden)
                small = convert_bundle(exact, Path(folder) / "int8", Wanted("int8"))
                ratios = [f"{ratio:.1f} ×" for ratio in _speedups(exact, small)]
                size = exact.graph_path.stat().st_size / small.graph_path.stat().st_size
                assert small.manifest.accuracy is not None
                drop = f"{small.manifest.accuracy.golden.drop:.2%}"
                lines.append(f"| {kind.__name__} of {hidden} | {size:.2f} × | {' | '.join(ratios)} | {drop} |")
                print(lines[-1], flush=True)
    table = "\n".join(lines)
    if page is None:
        print(table)
    else:
        before, _, rest = page.read_text().partition(START)
        page.write_text(f"{before}{START}\n{table}\n{END}{rest.partition(END)[2]}")


def _speedups(exact: Bundle, small: Bundle) -> list[float]:
    sessions = [_session(bundle) for bundle in (exact, small)]
    found = []
    for steps, batch in SHAPES:
        x = np.random.default_rng(0).standard_normal((steps, batch, exact.manifest.width)).astype(np.float32)
        feed = {"x": x}
        for spec, value in zip(exact.manifest.states, first_states(exact, batch), strict=True):
            feed[spec.input] = np.ascontiguousarray(np.moveaxis(value, 0, spec.batch_axis))
        best = [float("inf")] * 2
        for _ in range(ROUNDS):
            for index, session in enumerate(sessions):
                best[index] = min(best[index], _seconds(session, feed, steps * batch))
        found.append(best[0] / best[1])
    return found


def _session(bundle: Bundle) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(bundle.graph_path), options, providers=["CPUExecutionProvider"])


def _seconds(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray], steps: int) -> float:
    """CPU seconds of one call of the graph alone."""
    calls = max(3, int(400 / steps**0.7))
    began = time.process_time()
    for _ in range(calls):
        session.run(None, feed)
    return (time.process_time() - began) / calls


if __name__ == "__main__":
    main()
