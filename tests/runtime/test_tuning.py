"""How large calls are and how many run at once, on steps whose cost is known."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from runtime.core.scheduler import LEAST_STREAMS, Limits
from runtime.engines import tuning
from runtime.engines.tuning import SIZES, Tuning, measure


class Sleeping:
    """A step that takes its time beside others, or one at a time."""

    def __init__(self, seconds_of, *, alone: bool) -> None:
        self._seconds_of, self._lock = seconds_of, threading.Lock() if alone else None

    def __call__(self, inputs, states):
        seconds = self._seconds_of(inputs[0].shape[1])
        if self._lock is None:
            time.sleep(seconds)
        else:
            with self._lock:
                time.sleep(seconds)
        return [], []


def tuned(bundle, step, **given) -> Tuning:
    first = [bundle.initial_state(spec) for spec in bundle.manifest.states]
    return measure(step, bundle.manifest, first, budget_s=0.2, **given)


@pytest.mark.parametrize(("alone", "expected"), [(False, 3), (True, 1)])
def test_threads_are_as_many_as_make_it_faster(lstm_bundle, monkeypatch, alone, expected):
    monkeypatch.setattr(tuning, "available_cores", lambda: 3)
    assert tuned(lstm_bundle, Sleeping(lambda streams: 0.005, alone=alone)).threads == expected


def test_threads_given_are_taken_without_a_trial(lstm_bundle):
    assert tuned(lstm_bundle, Sleeping(lambda streams: 0.001, alone=True), threads=7).threads == 7


def test_streams_of_a_call_are_the_fewest_that_are_nearly_the_fastest(lstm_bundle):
    knee = SIZES[2]
    found = tuned(lstm_bundle, Sleeping(lambda streams: 0.004 * max(1, streams / knee), alone=True), threads=1)
    assert found.streams == knee


def test_bound_keeps_a_chunk_of_some_streams_whole():
    assert Tuning(streams=512).bound(Limits(chunk=16)).steps == 512
    assert Tuning(streams=512).bound(Limits(chunk=1024)).steps == LEAST_STREAMS * 1024
    assert Tuning(streams=512).bound(Limits(chunk=1, steps=100)).steps == 100


def test_measure_of_a_slow_model_ends_within_its_budget(lstm_bundle):
    began = time.perf_counter()
    found = tuned(lstm_bundle, Sleeping(lambda streams: 0.15, alone=True), threads=1)
    assert time.perf_counter() - began < 1
    assert list(found.rates) == [SIZES[0]]
    assert np.isfinite(found.rates[SIZES[0]])
