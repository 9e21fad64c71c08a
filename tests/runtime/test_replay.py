"""Replay goes the daemon's way: the same calls, the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from runtime.daemon import replay
from runtime.engines.cpu import CpuEngine, open_cpu_engine


class Counting(CpuEngine):
    """An engine that notes how many rows each call takes."""

    rows: list[int]

    def run(self, slots, inputs):
        self.rows.append(inputs[0].shape[0] * slots.size)
        return super().run(slots, inputs)


def test_replay_of_more_streams_than_a_call_takes_cuts_the_calls(
    lstm_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_cpu_engine(lstm_bundle)
    most = opened.tuning.streams
    engine = Counting(opened.step, [lstm_bundle.initial_state(spec) for spec in lstm_bundle.manifest.states])
    engine.rows = []
    monkeypatch.setattr(replay, "open_cpu_engine", lambda _: engine)
    streams = 2 * most + 5
    rows = np.random.default_rng(3).standard_normal((streams, 3))
    source = tmp_path / "rows.csv"
    lines = [f"s{i},{','.join(map(str, row))}" for i, row in enumerate(rows)]
    source.write_text("\n".join(["key,a,b,c", *lines]))
    outputs = [line for part in replay.replay(lstm_bundle.path, source) for line in part]
    assert len(outputs) == streams
    assert sum(engine.rows) == streams
    assert max(engine.rows) == most
