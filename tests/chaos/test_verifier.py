"""The verifier catches each kind of violation, and says nothing where there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

import numpy as np
import pytest

from tests.chaos.records import FEATURES, Record
from tests.chaos.verifier import Verdict, verify


class Sums:
    """A model whose output is the sum of all rows so far: state matters, and so does its end."""

    def __init__(self) -> None:
        self._kept: dict[object, np.ndarray] = {}

    def steps(self, stream: object, rows: Iterable[np.ndarray]) -> np.ndarray:
        sums = np.cumsum([self._kept.get(stream, np.zeros(FEATURES, np.float32)), *rows], axis=0)[1:]
        self._kept[stream] = sums[-1]
        return sums

    def end(self, stream: object) -> None:
        self._kept.pop(stream, None)


def inputs() -> list[Record]:
    rng = np.random.default_rng(0)
    made = []
    for offset in range(60):
        value = rng.standard_normal((1 + offset % 3, FEATURES)).astype("<f4").tobytes()
        key = b"s%d" % (offset % 4)
        made.append(Record(offset % 2, offset // 2, 1000 + offset, key, None if offset % 19 == 18 else value))
    made[30] = made[30]._replace(value=b"poison")
    return sorted(made)


def right_outputs(given: list[Record]) -> tuple[list[Record], list[Record]]:
    model, outputs, dead = Sums(), [], []
    for record in given:
        stream = (record.partition, record.key)
        if record.value is None:
            model.end(stream)
        elif record.value == b"poison":
            dead.append(record)
        else:
            rows = np.frombuffer(record.value, "<f4").reshape(-1, FEATURES)
            outputs.append(record._replace(value=model.steps(stream, rows).astype("<f4").tobytes()))
    return outputs, dead


def judged(outputs: list[Record], dead: list[Record] | None = None) -> Verdict:
    verdicts = verify(inputs(), outputs, right_outputs(inputs())[1] if dead is None else dead, Sums())
    return verdicts["outputs"] if dead is None else verdicts["dead_letters"]


def counts(verdict: Verdict) -> dict[str, int]:
    kinds = ("missing", "doubled", "out_of_order", "wrong", "stray")
    return {kind: getattr(verdict, kind) for kind in kinds if getattr(verdict, kind)}


def test_verifier_when_all_is_right_then_counts_nothing() -> None:
    outputs, dead = right_outputs(inputs())
    verdict = judged(outputs)
    assert (counts(verdict), verdict.wanted, verdict.found) == ({}, len(outputs), len(outputs))
    assert not counts(judged(outputs, dead))


def test_verifier_when_streams_interleave_otherwise_then_counts_nothing() -> None:
    outputs, _ = right_outputs(inputs())
    assert not counts(judged(sorted(outputs, key=lambda record: (record.key, record.timestamp))))


@pytest.mark.parametrize("place", [0, 17, -1])
def test_verifier_when_an_output_is_lost_then_one_is_missing(place: int) -> None:
    outputs, _ = right_outputs(inputs())
    del outputs[place]
    verdict = judged(outputs)
    assert counts(verdict) == {"missing": 1}
    assert "missing" in verdict.examples[0]


@pytest.mark.parametrize("far", [0, 9])
def test_verifier_when_an_output_comes_twice_then_one_is_doubled(far: int) -> None:
    outputs, _ = right_outputs(inputs())
    outputs.insert(20 + far, outputs[19])
    assert counts(judged(outputs)) == {"doubled": 1}


def test_verifier_when_two_outputs_of_a_stream_change_places_then_one_is_out_of_order() -> None:
    outputs, _ = right_outputs(inputs())
    first = outputs[5]
    second = next(i for i in range(6, len(outputs)) if outputs[i][0] == first.partition and outputs[i].key == first.key)
    outputs[5], outputs[second] = outputs[second], outputs[5]
    assert counts(judged(outputs)) == {"out_of_order": 1}


@pytest.mark.parametrize("bit", [0, 7, 31])
def test_verifier_when_one_bit_differs_then_one_is_wrong(bit: int) -> None:
    outputs, _ = right_outputs(inputs())
    value = bytearray(outputs[11].value or b"")
    value[bit // 8] ^= 1 << bit % 8
    outputs[11] = outputs[11]._replace(value=bytes(value))
    verdict = judged(outputs)
    assert counts(verdict) == {"wrong": 1}
    assert bytes(value).hex() in verdict.examples[0]


def test_verifier_when_a_state_survives_its_tombstone_then_what_follows_is_wrong() -> None:
    given = inputs()
    without = [record for record in given if record.value is not None]
    assert counts(judged(right_outputs(without)[0])).keys() == {"wrong"}


def test_verifier_when_an_output_has_no_input_then_it_is_stray() -> None:
    outputs, _ = right_outputs(inputs())
    outputs.append(outputs[3]._replace(timestamp=5))
    outputs.append(outputs[3]._replace(partition=3))
    assert counts(judged(outputs)) == {"stray": 2}


def test_verifier_when_dead_letters_are_lost_or_doubled_then_says_so() -> None:
    outputs, dead = right_outputs(inputs())
    assert len(dead) == 1
    assert counts(judged(outputs, [])) == {"missing": 1}
    assert counts(judged(outputs, dead * 2)) == {"doubled": 1}


def test_verifier_when_imported_then_nothing_of_the_runtime_comes_with_it() -> None:
    code = (
        "import sys, tests.chaos.verifier; "
        "print([name for name in sys.modules if name.split('.')[0] in ('runtime', 'edge_rnn', 'exporters')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
