"""What a commit does first: outputs are in its epoch, and where the delivery allows it the model does not wait for them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from runtime.checkpoint.checkpoint import Checkpoint
from runtime.checkpoint.policy import SnapshotPolicy
from runtime.checkpoint.recovered import Recovered
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.batch import Outgoing
from runtime.core.processor import Processor, ProcessorSettings
from runtime.engines.cpu import open_cpu_engine
from runtime.transports.protocol import Delivery
from tests.daemon.test_on_device import Noted
from tests.runtime.records import batch_of, f32


@pytest.mark.parametrize(
    ("delivery", "expected"),
    [
        ("exactly-once", ["send state", "meanwhile", "send output", "commit"]),
        ("at-least-once", ["send output", "commit", "send state", "meanwhile"]),
    ],
)
def test_commit_sends_the_last_outputs_within_the_epoch_and_beside_the_model_where_it_may(
    bundle: Bundle, delivery: Delivery, expected: list[str]
) -> None:
    transport = Noted()
    manifest = bundle.manifest
    processor = Processor(
        open_cpu_engine(bundle), make_decoder("f32", manifest), make_encoder("f32", manifest), ProcessorSettings("in")
    )
    policy = SnapshotPolicy(interval_s=0)
    checkpoint = Checkpoint(processor, transport, b"f" * 8, policy, manifest.state_bytes, delivery=delivery)  # type: ignore[arg-type]
    checkpoint.begin(0, Recovered(0, 0, 0))
    values = np.random.default_rng(0).standard_normal((5, 3))
    processed = processor.process(batch_of([(0, b"s%d" % s, f32(values[s])) for s in range(5)], {}))

    def send_outputs() -> None:
        outputs: Outgoing = processed.outputs
        assert len(outputs) == 5
        transport.order.append("send output")

    checkpoint.commit({0: 5}, 1.0, send_outputs, meanwhile=lambda: transport.order.append("meanwhile"))
    assert transport.order == expected
