"""A daemon whose states are on a device that works late: two calls under way, spill, snapshots beside the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from runtime.checkpoint.checkpoint import Checkpoint
from runtime.checkpoint.policy import SnapshotPolicy
from runtime.checkpoint.recovered import Recovered
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.processor import Processor, ProcessorSettings
from tests.daemon.conftest import Place
from tests.daemon.on_late_device import open_late_engine
from tests.daemon.test_kill import killed_again_and_again, outputs_by_stream
from tests.runtime.records import batch_of, f32


@pytest.mark.parametrize("rows", ["16", "500", "shared"])
def test_every_input_has_one_output_the_cpus_bit_for_bit_when_the_daemon_is_killed_again_and_again(
    embedded: Place, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    """Of 40 streams; all but the smallest batches go through the model in the background, where snapshots overlap."""
    monkeypatch.setenv("EDGE_RNN_TEST_ROWS", rows)
    more = ("--device", "cpu", "--background-records", "8", "--snapshot-interval", "1s")
    expected = killed_again_and_again(embedded, bundle, tmp_path, *more, module="tests.daemon.on_late_device")
    assert outputs_by_stream(embedded.read()) == expected


class Noted:
    """A transport that notes what is done with it, and in which order."""

    input_partitions, topic_ids = 1, (None, None, None)

    def __init__(self) -> None:
        self.order: list[str] = []
        self.states: list[tuple[bytes, bytes]] = []

    def send(self, records, role: str) -> None:
        self.order.append(f"send {role}")
        self.states += zip(records.keys, records.values, strict=True)

    def commit(self, positions) -> None:
        self.order.append("commit")


def test_snapshots_hold_the_states_of_the_barrier_though_the_model_went_on_before_they_were_sent(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_RNN_TEST_ROWS", "500")
    engine, transport, rng = open_late_engine(bundle), Noted(), np.random.default_rng(0)
    processor = Processor(
        engine, make_decoder("f32", bundle.manifest), make_encoder("f32", bundle.manifest), ProcessorSettings("in")
    )
    policy = SnapshotPolicy(interval_s=0)
    checkpoint = Checkpoint(processor, transport, b"f" * 8, policy, bundle.manifest.state_bytes)  # type: ignore[arg-type]
    checkpoint.begin(0, Recovered(0, 0, 0))
    offsets: dict[int, int] = {}

    def step() -> None:
        processor.process(batch_of([(0, b"s%d" % s, f32(rng.standard_normal(3))) for s in range(30)], offsets))

    step()
    keys = [b"s%d" % s for s in range(30)]
    slots = np.array([processor.streams.find(0, key) for key in keys])
    expected = processor.read_states(slots)

    def meanwhile() -> None:
        transport.order.append("meanwhile")
        step()

    checkpoint.commit({0: 30}, 1.0, meanwhile=meanwhile)
    assert transport.order == ["meanwhile", "send state", "commit"]
    found = {key: bytes(value) for key, value in transport.states}
    assert len(found) == 30
    for key, rows in zip(keys, expected, strict=True):
        assert found[b"f" * 8 + key].endswith(rows.tobytes())
    assert (processor.read_states(slots) != expected).any(axis=1).all()
