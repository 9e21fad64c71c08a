"""What a GPU does beside the host: calls begun behind others, snapshots copied while it computes, states in shared memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.engines.device import DeviceEngine
from tests.gpu.engines import cuda, rehearsed
from tests.runtime.engines.cases import bundle_of, drawn

STREAMS = 40


@pytest.fixture
def engine(cupy: Any, tmp_path: Path) -> DeviceEngine:
    if rehearsed():
        pytest.skip("a rehearsal computes at once")
    engine = cuda(bundle_of("lstm", tmp_path))
    engine.grow(STREAMS)
    engine.reset(np.arange(STREAMS))
    engine.run(np.arange(STREAMS), [drawn(0, 2, STREAMS)])
    engine.run(np.arange(STREAMS), [drawn(0, 1, STREAMS)])
    return engine


def keep_busy(cupy: Any, engine: DeviceEngine) -> Callable[[], bool]:
    """Some tenths of a second of products in the queue of the calls; what is returned says whether they are over."""
    queue = engine._device.queue
    with engine._turn():
        a = cupy.ones((8192, 8192), np.float32)
        queue.put(lambda: [cupy.matmul(a, a) for _ in range(10)])
        return queue.mark().passed


def test_calls_are_begun_while_the_device_is_busy(cupy: Any, engine: DeviceEngine) -> None:
    over = keep_busy(cupy, engine)
    begun = [engine.begin(np.arange(STREAMS), [drawn(number, 2, STREAMS)]) for number in range(2)]
    assert engine.begin(np.arange(STREAMS), [drawn(3, 2, STREAMS)]) is None
    assert not over()
    for call in begun:
        assert call is not None
        assert call.result()[1].all()
    assert over()


def test_states_reach_the_host_while_the_device_is_busy(cupy: Any, engine: DeviceEngine) -> None:
    expected = engine.read(np.arange(STREAMS))
    engine.arena.changed(engine.arena.enter(np.arange(STREAMS)))  # so that they are copied again
    reading = engine.begin_read(np.arange(STREAMS))
    over = keep_busy(cupy, engine)
    engine.begin(np.arange(STREAMS), [drawn(5, 2, STREAMS)])
    assert (reading() == expected).all()
    assert not over()


def test_shared_memory_is_read_by_the_host_where_the_device_wrote_it(cupy: Any, tmp_path: Path) -> None:
    """What a Jetson does; a GPU with memory of its own reads the host's over its bus, slower but the same."""
    bundle = bundle_of("gru", tmp_path)
    one, other = cuda(bundle, shared=True), cuda(bundle)
    if rehearsed():
        assert not other._device.shared
    for made in (one, other):
        made.grow(STREAMS)
        made.reset(np.arange(STREAMS))
        for number in range(3):
            made.run(np.arange(STREAMS), [drawn(number, 2, STREAMS)])
    found, expected = (made.read(np.arange(STREAMS)).view(np.float32) for made in (one, other))
    assert one._device.shared
    assert np.abs(found - expected).max() <= 1e-5
