"""The snapshot record and the metadata beside a committed offset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_rnn.contract.errors import StateError
from runtime.checkpoint.metadata import CommitMetadata, decode_metadata
from runtime.checkpoint.snapshot import Snapshots, decode_snapshots, encode_closings, encode_snapshots

FINGERPRINT = b"12345678"


def made(n: int, state_bytes: int = 12) -> Snapshots:
    rng = np.random.default_rng(n)
    return Snapshots(
        keys=[b"key-%d" % i for i in range(n)],
        rows=rng.integers(0, 256, (n, state_bytes), np.uint8),
        offsets=rng.integers(0, 2**60, n),
        timestamps=rng.integers(-1, 2**50, n),
    )


@given(st.integers(0, 20), st.integers(0, 40))
def test_decode_of_what_was_encoded_gives_the_same(n, state_bytes):
    before = made(n, state_bytes)
    keys, values = encode_snapshots(FINGERPRINT, before)
    assert keys == [FINGERPRINT + key for key in before.keys]
    after, closed = decode_snapshots(keys, values, state_bytes, "here")
    assert closed.keys == []
    assert after.keys == before.keys
    for mine, theirs in (
        (after.rows, before.rows),
        (after.offsets, before.offsets),
        (after.timestamps, before.timestamps),
    ):
        assert np.array_equal(mine, theirs)


@given(st.lists(st.booleans(), max_size=12), st.sampled_from([0, 7]))
def test_decode_of_snapshots_and_closings_mixed_keeps_them_apart(flags, state_bytes):
    snapshots = made(len(flags), state_bytes)
    keys, values = encode_snapshots(FINGERPRINT, snapshots)
    closings = {snapshots.keys[i]: 10 * i for i, flag in enumerate(flags) if flag}
    values_of = dict(zip(keys, values, strict=True)) | dict(zip(*encode_closings(FINGERPRINT, closings), strict=True))
    after, closed = decode_snapshots(list(values_of), list(values_of.values()), state_bytes, "here")
    assert dict(zip(closed.keys, closed.offsets.tolist(), strict=True)) == closings
    open_ = [i for i, flag in enumerate(flags) if not flag]
    assert after.keys == [snapshots.keys[i] for i in open_]
    assert np.array_equal(after.rows, snapshots.rows[open_])


@given(st.lists(st.one_of(st.none(), st.binary(max_size=9)), min_size=1, max_size=12), st.sampled_from([0, 7]))
def test_decode_of_snapshots_with_more_behind_their_rows_gives_it_back(extras, state_bytes):
    before = made(len(extras), state_bytes)
    keys, values = encode_snapshots(FINGERPRINT, replace(before, extras=[extra or b"" for extra in extras]))
    closings = {before.keys[i]: 10 * i for i, extra in enumerate(extras) if extra is None}
    values_of = dict(zip(keys, values, strict=True)) | dict(zip(*encode_closings(FINGERPRINT, closings), strict=True))
    after, closed = decode_snapshots(list(values_of), list(values_of.values()), state_bytes, "here")
    assert dict(zip(closed.keys, closed.offsets.tolist(), strict=True)) == closings
    open_ = [i for i, extra in enumerate(extras) if extra is not None]
    if open_:
        assert after.extras == [extras[i] for i in open_]
    assert np.array_equal(after.rows, before.rows[open_])
    assert np.array_equal(after.offsets, before.offsets[open_])


@pytest.mark.parametrize("at", [0, 1, *range(4, 45)])
def test_decode_of_a_snapshot_with_more_behind_its_rows_and_one_bit_flipped_is_refused(at):
    keys, values = encode_snapshots(FINGERPRINT, replace(made(1), extras=[b"dialogue!"]))
    damaged = bytearray(values[0])
    damaged[at] ^= 2
    with pytest.raises(StateError, match=r"damaged|flags|version|bytes|too long|closing"):
        decode_snapshots(keys, [bytes(damaged)], 12, "here")


@pytest.mark.parametrize("at", [1, *range(4, 24)])
def test_decode_of_a_closing_with_one_bit_flipped_is_refused(at):
    keys, values = encode_closings(FINGERPRINT, {b"key-0": 5})
    damaged = bytearray(values[0])
    damaged[at] ^= 1
    with pytest.raises(StateError, match=r"partition 3.*key-0"):
        decode_snapshots(keys, [bytes(damaged)], 12, "partition 3")


@pytest.mark.parametrize("at", range(4, 36))
def test_decode_of_a_snapshot_with_one_bit_flipped_is_refused(at):
    keys, values = encode_snapshots(FINGERPRINT, made(1))
    damaged = bytearray(values[0])
    damaged[at] ^= 1
    with pytest.raises(StateError, match=r"partition 3.*key-0.*damaged"):
        decode_snapshots(keys, [bytes(damaged)], 12, "partition 3")


def test_decode_of_a_snapshot_under_another_key_is_refused():
    keys, values = encode_snapshots(FINGERPRINT, made(2))
    with pytest.raises(StateError, match="damaged"):
        decode_snapshots(keys[::-1], values, 12, "here")


def test_decode_of_another_length_or_version_is_refused():
    keys, values = encode_snapshots(FINGERPRINT, made(1))
    with pytest.raises(StateError, match="36 bytes, expected 40"):
        decode_snapshots(keys, values, 16, "here")
    with pytest.raises(StateError, match="version 9, expected 1"):
        decode_snapshots(keys, [b"\x09" + values[0][1:]], 12, "here")


def test_metadata_comes_back_and_is_small():
    metadata = CommitMetadata({"0123456789abcdef": 2**62})
    assert decode_metadata(metadata.encode(), "here") == metadata
    assert len(metadata.encode()) < 200


@pytest.mark.parametrize("text", ["", "hello", "[1]", '{"other": 1}', "3"])
def test_metadata_of_another_program_is_not_ours(text):
    assert decode_metadata(text, "here") is None


def test_metadata_of_a_newer_version_is_refused():
    with pytest.raises(StateError, match="version 2"):
        decode_metadata('{"edge-rnn": 2, "replay_from": {}}', "here")
