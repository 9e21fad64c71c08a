"""The comparison finds a lost, a doubled, a reordered, an unknown and a one-bit-wrong output."""

from __future__ import annotations

import numpy as np
import pytest

from edge_rnn.demo.compare import Record, Verdict, compare

EXACT = {"lost": 0, "doubled": 0, "out_of_order": 0, "different": 0, "unknown": 0}


def records() -> list[Record]:
    """Three streams of four steps, mixed, timestamps shared between streams."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((4, 3, 2)).astype(np.float32)
    return [Record(f"s{s}", 1000 + 7 * t, rows[t, s].tobytes()) for t in range(4) for s in range(3)]


def found(verdict: Verdict) -> dict[str, int]:
    return {name: getattr(verdict, name) for name in EXACT if getattr(verdict, name)}


def one_bit_off(bits: bytes | None) -> bytes:
    value = bytearray(bits or b"")
    value[0] ^= 1
    return bytes(value)


def test_compare_when_all_is_right_then_exact():
    verdict = compare(records(), records())
    assert verdict.is_exact
    assert (verdict.records_in, verdict.outputs) == (12, 12)


def test_compare_when_streams_are_mixed_otherwise_then_exact():
    by_stream = sorted(records(), key=lambda record: record.stream)
    assert compare(records(), by_stream).is_exact


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda seen: seen[:5] + seen[6:], {"lost": 1}),
        (lambda seen: seen[:-1], {"lost": 1}),
        (lambda seen: [*seen[:6], seen[5], *seen[6:]], {"doubled": 1}),
        (lambda seen: [*seen, seen[0]], {"doubled": 1}),
        (lambda seen: [seen[3], *seen[1:3], seen[0], *seen[4:]], {"out_of_order": 1}),
        (lambda seen: [*seen[:4], seen[4]._replace(bits=one_bit_off(seen[4].bits)), *seen[5:]], {"different": 1}),
        (lambda seen: [*seen[:4], seen[4]._replace(bits=None), *seen[5:]], {"different": 1}),
        (lambda seen: [*seen, seen[0]._replace(timestamp_ms=5)], {"unknown": 1}),
        (lambda seen: [seen[0]._replace(stream="s9"), *seen[1:]], {"lost": 1, "unknown": 1}),
        (lambda seen: [], {"lost": 12}),
    ],
    ids=[
        *("lost", "lost-at-end", "doubled", "doubled-later", "swapped"),
        *("one-bit", "unreadable", "unknown", "other-key", "nothing"),
    ],
)
def test_compare_when_one_output_is_spoiled_then_it_is_counted(spoil, expected):
    verdict = compare(records(), spoil(records()))
    assert found(verdict) == expected
    assert not verdict.is_exact


def test_compare_when_two_inputs_share_a_name_then_refused():
    with pytest.raises(ValueError, match="two records of timestamp 1000"):
        compare([*records(), records()[0]], records())
