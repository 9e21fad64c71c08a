"""Quix Streams: a stateful function a record, exactly-once, state in RocksDB with a changelog topic."""

from __future__ import annotations

import tempfile
import uuid
from typing import Any

import numpy as np
from quixstreams import Application

from tests.benchmarks.peers.began import Began
from tests.benchmarks.peers.model import Model


def run_quix(broker: str, source: str, target: str, n: int, graph: str) -> None:
    """The settings are Quix's own; a commit every 5 s or where its count says so."""
    model, began = Model(graph), Began()
    splits = np.cumsum(model.widths)[:-1]
    zeros = np.zeros(sum(model.widths), np.float32)

    def step(value: bytes, state: Any) -> bytes:
        began([value])
        held = state.get_bytes("state")
        row = zeros if held is None else np.frombuffer(held, np.float32)
        x = np.frombuffer(value, np.float32).reshape(1, 1, -1)
        y, *states = model(x, [part.reshape(1, 1, -1) for part in np.split(row, splits)])
        state.set_bytes("state", b"".join(part.tobytes() for part in states))
        return bytes(y.tobytes())

    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=broker,
            consumer_group=uuid.uuid4().hex,
            auto_offset_reset="earliest",
            state_dir=folder,
            loglevel="ERROR",
            processing_guarantee="exactly-once",
        )
        inputs = app.topic(source, value_deserializer="bytes", key_deserializer="bytes")
        outputs = app.topic(target, value_serializer="bytes", key_serializer="bytes")
        app.dataframe(inputs).apply(step, stateful=True).to_topic(outputs)
        app.run(count=n, timeout=120)
