"""What is recommended follows from the figures."""

from __future__ import annotations

import pytest

from runtime.daemon.measure.advice import (
    LOOP,
    MODEL,
    Limit,
    advise_batch,
    advise_chunk,
    advise_threads,
    advise_workers,
    find_limit,
)
from runtime.daemon.measure.model import ModelCell, shapes
from runtime.daemon.measure.stages import StageFigures
from runtime.daemon.measure.transport import TransportFigures


def cell(batch: int, chunk: int, us: float, threads: int = 1) -> ModelCell:
    return ModelCell(batch, chunk, threads, us * batch * chunk / 1e3, us, us)


def transport(**more: float) -> TransportFigures:
    costs = {"poll_us": 1.0, "send_us": 1.0, "commit_us": 1.0, "waited_us": 0.0, "client_us": 2.0, **more}
    return TransportFigures(broker="b", client="confluent", records=1000, events_per_s=1e5, **costs)


def stage(model_us: float) -> StageFigures:
    return StageFigures(
        streams=10, records=10, decode_us=0.5, streams_us=1.0, model_us=model_us, moving_us=0.5, encode_us=0.5
    )


def limit(thread: str = MODEL, alone: float = 1e5, total: float = 20.0) -> Limit:
    return Limit("model", 1.0, thread, 1e6 / alone, total, alone, alone, 2)


CELLS = [cell(1, 1, 60), cell(64, 1, 4.0), cell(256, 1, 3.0), cell(1024, 1, 2.95), cell(4096, 1, 5.0)]


def test_batch_is_the_smallest_near_the_best_and_larger_ones_are_told_slower():
    advice = advise_batch(CELLS, 4096)
    assert advice.value == 256
    assert "4096 rows are slower, 200,000 (0.60 x)" in advice.why


def test_batch_when_larger_is_no_slower_says_what_a_call_takes():
    assert "bring no more" in advise_batch(CELLS[:-1], 4096).why


def test_chunk_is_the_smallest_near_the_best_whose_call_is_short():
    few = [cell(4, 1, 20.0), cell(4, 16, 5.0), cell(4, 64, 3.0)]
    assert advise_chunk(few).value == 64
    slow = [cell(4, 1, 2000.0), cell(4, 16, 300.0), cell(4, 64, 290.0)]  # 64 steps of 4 streams: 74 ms a call
    assert advise_chunk(slow).value == 16


@pytest.mark.parametrize(
    ("us", "limiting", "expected"),
    [(1.7, MODEL, 2), (2.9, MODEL, 1), (1.7, LOOP, 1)],
    ids=["worth it", "brings nothing", "the model is not the limit"],
)
def test_threads_are_more_than_one_only_where_the_model_limits_and_they_bring_something(us, limiting, expected):
    advice = advise_threads(CELLS, [cell(256, 1, us, threads=2)], 256, limit(limiting))
    assert advice.value == expected


@pytest.mark.parametrize(("alone", "total", "expected"), [(60e3, 17.0, 2), (110e3, 17.0, 1)])
def test_workers_are_as_many_as_bring_something(alone, total, expected):
    assert advise_workers(limit(alone=alone, total=total), 2, 1).value == expected


def test_limit_is_the_slower_of_the_threads_that_overlap_and_its_largest_stage():
    found = find_limit(stage(model_us=8.0), transport(), 2)
    assert (found.thread, found.stage, found.thread_us) == (MODEL, "model", 10.0)
    found = find_limit(stage(model_us=2.0), transport(send_us=9.0), 2)
    assert (found.thread, found.stage, found.thread_us) == (LOOP, "send", 11.0)
    assert found.overlapped_per_s == min(1e6 / 11.0, 2e6 / found.total_us)


def test_shapes_stay_within_the_steps_of_a_call_and_take_one_step_without_a_time_axis():
    assert max(batch * chunk for batch, chunk in shapes(has_time=True, most_steps=4096)) == 4096
    assert {chunk for _, chunk in shapes(has_time=False, most_steps=4096)} == {1}
