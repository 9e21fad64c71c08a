"""Random numbers by counter, and the tokens that they choose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core.philox import philox, stream_number, uniforms
from runtime.core.sampling import Sampling, choose

KNOWN = [  # from the authors' own test vectors of philox4x32 with 10 rounds (Random123, kat_vectors)
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


def test_philox_when_given_the_authors_vectors_then_gives_their_words():
    counters, keys, words = (np.array(column, np.uint32) for column in zip(*KNOWN, strict=True))
    assert philox(counters, keys).tolist() == words.tolist()


def test_uniforms_when_any_of_seed_stream_and_token_differs_then_differ_and_fill_the_unit_interval():
    n = 20_000
    zero, count = np.zeros(n, np.uint64), np.arange(n, dtype=np.uint64)
    columns = [uniforms(count, zero, zero), uniforms(zero, count << np.uint64(40), zero), uniforms(zero, zero, count)]
    for values in columns:
        assert len(set(values.tolist())) == n
        assert 0 <= values.min() < 0.001
        assert 0.999 < values.max() < 1
        assert np.abs(np.histogram(values, 20)[0] / n - 0.05).max() < 0.006
    assert abs(np.corrcoef(np.stack(columns))[0, 1]) < 0.03


def test_stream_number_when_partition_or_key_differs_then_differs():
    assert len({stream_number(p, k) for p in (0, 1) for k in (b"", b"a", b"b")}) == 6


def by_hand(logits: np.ndarray, sampling: Sampling, draw: float) -> int:
    """One row, token after token in plain Python."""
    if sampling.temperature == 0:
        return int(np.argmax(logits))
    scaled = [(float(v) - float(max(logits))) / sampling.temperature for v in logits]
    p = np.exp(np.array(scaled))
    p = (p / p.sum()).tolist()
    order = list(range(len(p)))
    if sampling.top_k or sampling.top_p < 1:
        order.sort(key=lambda i: (-float(logits[i]), i))
        order = order[: sampling.top_k or len(order)]
        whole, kept, total = sum(p[i] for i in order), [], 0.0
        for i in order:
            if kept and total >= sampling.top_p:
                break
            kept.append(i)
            total += p[i] / whole
        order = kept
    whole, total = sum(p[i] for i in order), 0.0
    for i in order:
        total += p[i] / whole
        if total > draw:
            return i
    return order[-1]


SETTINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 1, 3, 50]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 1.0]),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SETTINGS, min_size=1, max_size=8), st.integers(0, 10_000), st.integers(1, 40))
def test_choose_when_settings_are_mixed_then_each_row_is_as_by_hand_and_as_alone(samplings, seed, width):
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((len(samplings), width)) * 4).astype(np.float32)
    draws = rng.random(len(samplings))
    found = choose(logits, samplings, draws)
    for row, sampling in enumerate(samplings):
        assert found[row] == by_hand(logits[row], sampling, draws[row])
        assert found[row] == choose(logits[row : row + 1], [sampling], draws[row : row + 1])[0]


def test_choose_when_drawn_often_then_tokens_come_as_often_as_they_are_likely():
    p = np.array([0.5, 0.3, 0.15, 0.05])
    n = 20_000
    draws = uniforms(np.zeros(n, np.uint64), np.zeros(n, np.uint64), np.arange(n, dtype=np.uint64))
    logits = np.repeat(np.log(p)[None], n, axis=0)

    def shares(**given):
        return np.bincount(choose(logits, [Sampling(**given)] * n, draws), minlength=4) / n

    np.testing.assert_allclose(shares(), p, atol=0.012)
    np.testing.assert_allclose(shares(top_k=2), [0.625, 0.375, 0, 0], atol=0.012)
    np.testing.assert_allclose(shares(top_p=0.81), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], atol=0.012)
    np.testing.assert_allclose(shares(temperature=0.5), p**2 / (p**2).sum(), atol=0.012)


@pytest.mark.parametrize("draw", [0.0, np.nextafter(1, 0)])
def test_choose_when_a_token_has_no_probability_then_never_takes_it(draw):
    logits = np.array([[-np.inf, 0.0, 1.0, -np.inf]])
    for given_settings in ({}, {"top_k": 3}, {"top_p": 0.999}, {"temperature": 0.001}):
        assert choose(logits, [Sampling(**given_settings)], np.array([draw]))[0] in (1, 2)
