"""Windows are the same however a stream is cut into records, and what is carried is all that counts."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rnn.contract.framing import Framing
from runtime.core.framer import Framer
from runtime.core.pieces import Pieces, in_rounds
from runtime.core.resampler import Resampler

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def pieces_of(records: list[tuple[int, np.ndarray]]) -> Pieces:
    """Records ``(slot, samples)`` as a batch."""
    lengths = np.array([part.size for _, part in records], np.int64)
    rows = np.concatenate([part for _, part in records])
    return Pieces(rows, np.array([slot for slot, _ in records], np.int64), np.cumsum(lengths) - lengths, lengths)


def cut_up(
    rng: np.random.Generator, streams: dict[int, np.ndarray], sizes: list[int]
) -> list[list[tuple[int, np.ndarray]]]:
    """Each stream in pieces of these sizes, over and over; batches of a few records of any streams."""
    waiting = {slot: samples for slot, samples in streams.items()}
    batches, number = [], 0
    while waiting:
        batch = []
        for _ in range(int(rng.integers(1, 6))):
            if not waiting:
                break
            slot = int(rng.choice(list(waiting)))
            size = sizes[number % len(sizes)]
            number += 1
            batch.append((slot, waiting[slot][:size]))
            waiting[slot] = waiting[slot][size:]
            if not waiting[slot].size:
                del waiting[slot]
        batches.append(batch)
    return batches


def by_slot(pieces: Pieces, found: dict[int, list[np.ndarray]]) -> None:
    for slot, start, length in zip(pieces.slots.tolist(), pieces.starts.tolist(), pieces.lengths.tolist(), strict=True):
        found.setdefault(slot, []).append(pieces.rows[start : start + length])


@settings(max_examples=60, deadline=None)
@given(st.one_of(SIZES, st.none()), st.integers(1, 12), st.integers(0, 9), st.integers(0, 1000))
def test_framer_gives_the_windows_of_the_whole_however_it_is_cut(
    sizes: list[int] | None, hop: int, context: int, seed: int
) -> None:
    """``None``: records of one hop each."""
    rng = np.random.default_rng(seed)
    streams = {slot: rng.standard_normal(int(rng.integers(1, 200))).astype(np.float32) for slot in (0, 3, 7)}
    framer = Framer(Framing(hop=hop, context=context))
    found: dict[int, list[np.ndarray]] = {}
    for batch in cut_up(rng, streams, sizes or [hop]):
        by_slot(framer.cut(pieces_of(batch)), found)
        saved = framer.table.read(np.array([0, 3, 7]))  # as after a crash: elsewhere, from the bytes alone
        framer = Framer(Framing(hop=hop, context=context))
        framer.table.write(np.array([0, 3, 7]), saved)
    for slot, samples in streams.items():
        padded = np.concatenate([np.zeros(context, np.float32), samples])
        expected = [padded[at : at + hop + context] for at in range(0, samples.size - hop + 1, hop)]
        windows = np.concatenate(found[slot])
        assert windows.tobytes() == b"".join(window.tobytes() for window in expected)


@settings(max_examples=40, deadline=None)
@given(
    SIZES,
    st.sampled_from([(8000, 16000), (44100, 16000), (48000, 16000), (22050, 16000), (16000, 8000)]),
    st.integers(0, 99),
)
def test_resampler_gives_the_same_bits_however_the_stream_is_cut(
    sizes: list[int], rates: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    streams = {slot: rng.standard_normal(int(rng.integers(1, 500))).astype(np.float32) for slot in (1, 2)}
    whole = Resampler(*rates)
    expected = {slot: whole.cut(pieces_of([(slot, samples)])).rows for slot, samples in streams.items()}
    resampler = Resampler(*rates)
    found: dict[int, list[np.ndarray]] = {}
    for batch in cut_up(rng, streams, sizes):
        by_slot(resampler.cut(pieces_of(batch)), found)
        saved = resampler.table.read(np.array([1, 2]))
        resampler = Resampler(*rates)
        resampler.table.write(np.array([1, 2]), saved)
    for slot in streams:
        assert np.concatenate(found[slot]).tobytes() == expected[slot].tobytes()


def test_resampler_keeps_what_both_rates_can_hold_and_drops_the_rest() -> None:
    for given_rate, rate in ((8000, 16000), (44100, 16000), (48000, 16000), (22050, 16000)):
        resampler = Resampler(given_rate, rate)
        t = np.arange(given_rate) / given_rate
        low = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
        found = resampler.cut(pieces_of([(0, low)])).rows
        assert abs(found.size - rate) <= 1
        at = np.arange(found.size) / rate - resampler.delay_s
        settled = at > 3 * resampler.delay_s
        assert np.abs(found - np.sin(2 * np.pi * 1000 * at))[settled].max() < 1e-3
        if given_rate > rate:
            high = np.sin(2 * np.pi * 0.6 * rate * t).astype(np.float32)  # beyond half the model's rate
            assert np.abs(resampler.cut(pieces_of([(1, high)])).rows[1000:]).max() < 1e-3


def test_rounds_take_each_streams_rows_in_order_once() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.integers(0, 4, 40)
    slots = np.where(lengths > 0, rng.integers(0, 6, 40), -1)
    pieces = Pieces(np.empty(0), slots, np.cumsum(lengths) - lengths, lengths)
    seen: dict[int, list[int]] = {}
    for some, records, rows in in_rounds(pieces):
        assert np.unique(some).size == some.size
        assert (slots[records] == some).all()
        for slot, row in zip(some.tolist(), rows.tolist(), strict=True):
            seen.setdefault(slot, []).append(row)
    assert all(rows == sorted(rows) for rows in seen.values())
    assert sorted(row for rows in seen.values() for row in rows) == list(range(int(lengths.sum())))
