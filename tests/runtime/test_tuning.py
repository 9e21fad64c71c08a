"""How large calls are and how many run at once, on steps whose cost is known."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext

import numpy as np
import pytest

from runtime.core.scheduler import LEAST_STREAMS, Limits, plan
from runtime.engines import tuning
from runtime.engines.tuning import SIZES, Tuning, measure


class Sleeping:
    """A step that takes a twentieth of a second, beside others or one at a time."""

    def __init__(self, *, alone: bool) -> None:
        self._lock = threading.Lock() if alone else nullcontext()

    def __call__(self, inputs, states):
        with self._lock:
            time.sleep(0.05)
        return [], []


class Reckoned:
    """A step that moves a clock of its own on by what it would take."""

    def __init__(self, seconds_of) -> None:
        self._seconds_of, self.now = seconds_of, 0.0

    def __call__(self, inputs, states):
        self.now += self._seconds_of(inputs[0].shape[1])
        return [], []

    def clock(self) -> float:
        return self.now


def first_of(bundle):
    return [bundle.initial_state(spec) for spec in bundle.manifest.states]


def reckoned(bundle, seconds_of) -> Tuning:
    step = Reckoned(seconds_of)
    return measure(step, bundle.manifest, first_of(bundle), threads=1, budget_s=1.0, clock=step.clock)


@pytest.mark.parametrize(("alone", "expected"), [(False, 2), (True, 1)])
def test_threads_are_as_many_as_make_it_faster(lstm_bundle, monkeypatch, alone, expected):
    monkeypatch.setattr(tuning, "available_cores", lambda: 2)
    found = measure(Sleeping(alone=alone), lstm_bundle.manifest, first_of(lstm_bundle), budget_s=0.0)
    assert found.threads == expected


class Spreading:
    """A step whose threads share a core for its first calls."""

    def __init__(self, calls: int) -> None:
        self._core, self._left = threading.Lock(), calls

    def __call__(self, inputs, states):
        with self._core if self._left > 0 else nullcontext():
            self._left -= 1
            time.sleep(0.002)
        return [], []


def test_threads_that_share_a_core_at_first_are_tried_until_they_are_spread(lstm_bundle, monkeypatch):
    monkeypatch.setattr(tuning, "available_cores", lambda: 2)
    monkeypatch.setattr(tuning, "TRYING_S", 60.0)
    found = measure(Spreading(30), lstm_bundle.manifest, first_of(lstm_bundle), budget_s=0.0)
    assert found.threads == 2


def test_threads_that_never_pay_are_not_tried_for_long(lstm_bundle, monkeypatch):
    monkeypatch.setattr(tuning, "available_cores", lambda: 2)
    step = Reckoned(lambda streams: 0.05)
    began = step.now
    assert measure(step, lstm_bundle.manifest, first_of(lstm_bundle), budget_s=0.0, clock=step.clock).threads == 1
    assert step.now - began < 1.0


def test_threads_given_are_taken_without_a_trial(lstm_bundle):
    step = Reckoned(lambda streams: 1.0)
    assert measure(step, lstm_bundle.manifest, first_of(lstm_bundle), threads=7, clock=step.clock).threads == 7
    assert step.now == 3.0


def test_streams_of_a_call_are_the_fewest_that_are_nearly_the_fastest(lstm_bundle):
    knee = SIZES[2]
    assert reckoned(lstm_bundle, lambda streams: 0.01 * max(1, streams / knee)).streams == knee


def test_streams_of_a_call_reckon_with_what_each_call_costs_beside_the_graph(lstm_bundle):
    """At the same time a row, fewer calls are better."""
    assert reckoned(lstm_bundle, lambda streams: 1e-6 * streams).streams > SIZES[2]


def test_streams_of_a_call_are_no_more_than_the_cache_holds_where_more_gain_little(lstm_bundle, monkeypatch):
    """A call costs 300 us beside 2.5 us a row: twice the streams gain a tenth, and lose more where states are 2 KiB."""
    fits, state_bytes = SIZES[2], lstm_bundle.manifest.state_bytes
    monkeypatch.setattr(tuning, "SPILT_S", 2e-6 / state_bytes)
    monkeypatch.setattr(tuning, "_cache_bytes", lambda: 100 * SIZES[-1] * state_bytes)
    assert reckoned(lstm_bundle, lambda streams: 2.5e-6 * streams).streams > fits
    monkeypatch.setattr(tuning, "_cache_bytes", lambda: fits * state_bytes)
    assert reckoned(lstm_bundle, lambda streams: 2.5e-6 * streams).streams == fits


@pytest.mark.parametrize(("told", "expected"), [("256K\n", 256 << 10), ("2048K\n", 2 << 20), ("?", tuning.CACHE_BYTES)])
def test_cache_of_a_core_is_what_the_system_tells(tmp_path, monkeypatch, told, expected):
    (tmp_path / "size").write_text(told)
    monkeypatch.setattr(tuning, "CACHE", tmp_path / "size")
    assert tuning._cache_bytes() == expected
    monkeypatch.setattr(tuning, "CACHE", tmp_path / "missing")
    assert tuning._cache_bytes() == tuning.CACHE_BYTES


def test_bound_keeps_a_chunk_of_some_streams_whole():
    assert Tuning(streams=512).bound(Limits(chunk=16)).steps == 512
    assert Tuning(streams=512).bound(Limits(chunk=1024)).steps == LEAST_STREAMS * 1024
    assert Tuning(streams=512).bound(Limits(chunk=1, steps=100)).steps == 100


def test_bound_of_calls_of_one_step_is_what_is_best_whatever_the_chunk():
    """Twice the streams, whose states no longer fit the cache, took a quarter more time each among a million."""
    limits = Tuning(streams=512).bound(Limits(chunk=256))
    slots = np.arange(2000)
    assert {call.rows.shape for call in plan(slots, slots, np.ones_like(slots), limits)} == {(1, 512), (1, 464)}
    assert Tuning(streams=512).bound(Limits(streams=20)).streams == 20


def test_measure_of_a_slow_model_tries_fewer_sizes(lstm_bundle):
    assert list(reckoned(lstm_bundle, lambda streams: 0.5).rates) == [SIZES[0]]
