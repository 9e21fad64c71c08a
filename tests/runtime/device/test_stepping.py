"""Calls of a plan two at once: outputs, bad rows and states are those of calls made in turn, whatever fails in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import EngineError
from runtime.core.device import Device, at_once
from runtime.core.scheduler import Limits, plan
from runtime.core.stepping import Stepper, Stepping
from runtime.engines.bound import BoundSession, BoundStep
from runtime.engines.cpu import CpuEngine, open_cpu_engine
from runtime.engines.device import DeviceEngine
from tests.models_for_tests import make_bundle
from tests.runtime.device.late import late_device

STREAMS, RECORDS = 30, 80
POISON = 1000.0
LIMITS = Limits(chunk=8, steps=64)  # several calls of each chunk


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("stepping") / "lstm", "lstm", layers=2)


class Watched(DeviceEngine):
    """Notes how many calls were under way at most."""

    most = 0

    def begin(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> Any:
        begun = super().begin(slots, inputs)
        self.most = max(self.most, self.calls.under_way)
        return begun


def engines(bundle: Bundle, device: Device, rows: int | None = 100) -> tuple[CpuEngine, Watched]:
    session = onnxruntime.InferenceSession(str(bundle.graph_path), providers=["CPUExecutionProvider"])
    step = BoundStep(bundle.manifest, BoundSession(session, "cpu"), np, bundle.constants())
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    both = open_cpu_engine(bundle), Watched(bundle.manifest, step, first, device, rows)
    for engine in both:
        engine.grow(STREAMS)
        engine.reset(np.arange(STREAMS))
    return both


def batch(rng: np.random.Generator, spoilt: int, value: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows with some of them spoilt, and each record's slot, first row and length."""
    lengths = rng.integers(0, 14, RECORDS)
    rows = rng.standard_normal((int(lengths.sum()), 3)).astype(np.float32)
    rows[rng.choice(len(rows), spoilt, replace=False), 1] = value
    return rows, rng.integers(0, STREAMS, RECORDS), np.cumsum(lengths) - lengths, lengths


def same(plain: CpuEngine, device: DeviceEngine, rows: np.ndarray, *records: np.ndarray) -> dict[int, str]:
    """Both take the batch; returns the bad rows, which are those of both."""
    found = []
    for engine in (plain, device):
        stepping = Stepping(Stepper(engine), rows)
        stepping.step(plan(*records, LIMITS))
        found.append(stepping)
    expected, mine = found
    assert mine.bad_rows == expected.bad_rows
    fine = np.setdiff1d(np.arange(len(rows)), list(mine.bad_rows))
    for value, reference in zip(mine.outputs, expected.outputs, strict=True):
        assert value[fine].tobytes() == reference[fine].tobytes()
    everyone = np.arange(STREAMS)
    assert (device.read(everyone) == plain.read(everyone)).all()
    return mine.bad_rows


@pytest.mark.parametrize("kind", ["at once", "late", "now and then", "shared", "spilling", "in parts"])
@pytest.mark.parametrize("spoilt", [0, 1, 12])
def test_rows_that_give_what_is_not_finite_are_found_as_by_calls_in_turn(
    bundle: Bundle, kind: str, spoilt: int
) -> None:
    rng = np.random.default_rng(spoilt)
    device = {
        "at once": at_once,
        "late": late_device,
        "now and then": lambda: late_device(rng),
        "shared": lambda: late_device(shared=True),
        "spilling": late_device,
        "in parts": late_device,
    }[kind]()
    plain, mine = engines(bundle, device, {"shared": None, "spilling": 9, "in parts": 3}.get(kind, 100))
    for engine in (plain, mine):
        engine.step = not_finite_on_poison(engine.step)
    for _ in range(6):
        bad = same(plain, mine, *batch(rng, spoilt, POISON))
        assert len(bad) == spoilt
        assert mine.calls.under_way == 0
    assert mine.most == 2  # "in parts": calls of few streams


def not_finite_on_poison(step: Callable[..., Any]) -> Callable[..., Any]:
    def spoiling(inputs: Sequence[Any], states: Sequence[Any], /) -> Any:
        outputs, new = ([np.array(value) for value in values] for values in step(inputs, states))
        poisoned = (np.asarray(inputs[0]) == POISON).any(axis=2)
        outputs[0][poisoned] = np.nan
        new[-1][poisoned.any(axis=0)] = np.inf
        return outputs, new

    return spoiling


def failing_on_poison(step: Callable[..., Any]) -> Callable[..., Any]:
    def refused(inputs: Sequence[Any], states: Sequence[Any], /) -> Any:
        if (np.asarray(inputs[0]) == POISON).any():
            raise EngineError("it refuses this")
        return step(inputs, states)

    return refused


@pytest.mark.parametrize("spoilt", [1, 5])
def test_calls_that_are_refused_are_taken_apart_as_by_calls_in_turn(bundle: Bundle, spoilt: int) -> None:
    plain, mine = engines(bundle, at_once())
    rng = np.random.default_rng(spoilt)
    for engine in (plain, mine):
        engine.step = failing_on_poison(engine.step)
    for _ in range(4):
        bad = same(plain, mine, *batch(rng, spoilt, POISON))
        assert set(bad.values()) == {"it refuses this"}
        assert len(bad) == spoilt


def test_device_that_fails_under_way_is_an_error_and_nothing_is_left_under_way(bundle: Bundle) -> None:
    _, mine = engines(bundle, late_device())
    mine.step = failing_on_poison(mine.step)
    rows, *records = batch(np.random.default_rng(1), 1, POISON)
    with pytest.raises(EngineError, match="it refuses this"):
        Stepping(Stepper(mine), rows).step(plan(*records, LIMITS))
    assert mine.calls.under_way == 0
    assert all(place.free for place in mine.calls._places)


def test_one_call_has_one_upload_and_one_download(bundle: Bundle) -> None:
    device = late_device()
    _, mine = engines(bundle, device)
    slots, x = np.arange(20), np.ones((2, 20, 3), np.float32)
    mine.run(slots, [x])  # states go up once
    before = dict(device.queue.copied)  # type: ignore[attr-defined]
    for _ in range(3):
        mine.run(slots, [x])
    assert device.queue.copied == {way: count + 3 for way, count in before.items()}  # type: ignore[attr-defined]
    assert device.copies.copied == {"up": 0, "down": 0}  # type: ignore[attr-defined]


def test_shared_memory_is_not_copied(bundle: Bundle) -> None:
    device = late_device(shared=True)
    _, mine = engines(bundle, device, None)
    for _ in range(3):
        mine.run(np.arange(20), [np.ones((2, 20, 3), np.float32)])
    mine.read(np.arange(20))
    assert device.queue.copied == {"up": 0, "down": 0}  # type: ignore[attr-defined]


def test_buffers_are_used_again_once_they_are_large_enough(bundle: Bundle) -> None:
    plain, made = at_once(), list[int]()

    def counted(size: int) -> Any:
        made.append(size)
        return plain.room(size)

    _, mine = engines(bundle, replace(plain, room=counted))
    for streams in [20, 5, 20, 1, 13, 20]:
        mine.run(np.arange(streams), [np.ones((2, streams, 3), np.float32)])
    assert len(made) <= 3  # up and down, and the states that went up
