"""How many records a poll takes: as many as the model gets through in the time given."""

from __future__ import annotations

from runtime.daemon.pace import FIRST, Pace


def after_batches(pace: Pace, seconds_of, batches: int = 60) -> int:
    for _ in range(batches):
        pace.took(pace.size, seconds_of(pace.size))
    return pace.size


def test_a_batch_takes_the_time_it_may() -> None:
    for call_s, record_s in ((0.0, 4e-6), (0.002, 5e-6), (0.01, 1e-4)):
        size = after_batches(Pace(256, 1_000_000, 0.05), lambda n, a=call_s, b=record_s: a + b * n)
        assert abs(call_s + record_s * size - 0.05) < 0.002


def test_bounds_hold_however_slow_or_fast_the_model_is() -> None:
    assert after_batches(Pace(256, 32_768, 0.05), lambda n: 1.0 * n) == 256
    assert after_batches(Pace(256, 32_768, 0.05), lambda n: 0.0) == 32_768
    assert Pace(256, 100, 0.05).size == 100
    assert Pace(256, 32_768, 0.05).size == FIRST
    assert after_batches(Pace(256, 32_768, 0.0), lambda n: 1e-6 * n) == 256


def test_a_model_that_turns_slow_gets_smaller_batches_within_a_few() -> None:
    pace = Pace(256, 32_768, 0.05)
    fast = after_batches(pace, lambda n: 4e-6 * n)
    assert after_batches(pace, lambda n: 4e-5 * n, 10) < fast / 8


def test_few_records_say_nothing_of_many() -> None:
    pace = Pace(256, 32_768, 0.05)
    pace.took(3, 0.01)
    assert pace.size == FIRST
