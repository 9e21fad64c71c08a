"""Kernels that move rows do what plain statements do, bit for bit: on the host, from the source that GPUs get."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.signature import Manifest
from runtime.core.moves import Made, PlainMoves
from runtime.engines.kernel_check import check_moves
from runtime.engines.kernel_moves import KernelMoves, Pairing
from runtime.engines.kernel_source import Copy, move_source, settle_source
from tests.runtime.device.compiled import HostKernel, compiled, needs_compiler
from tests.runtime.device.signatures import LSTM, MIXED, manifest

DTYPES = (
    "float32",
    "float16",
    "float64",
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "complex64",
    "complex128",
)
SHAPES = ((), (1,), (3,), (4,), (64,), (1, 8), (2, 3), (3, 16), (2, 1, 5), (2, 2, 4), (0,), (3, 0))
GUARD = 0xA5


@pytest.fixture
def moves() -> KernelMoves:
    found = compiled()
    assert isinstance(found, KernelMoves)
    return found


class Guarded:
    """Arrays with bytes around them that nobody may write."""

    def __init__(self) -> None:
        self._around: list[tuple[np.ndarray, int]] = []

    def __call__(self, value: np.ndarray, shift: int = 0) -> np.ndarray:
        """A contiguous copy that begins ``shift`` elements behind a multiple of 64 bytes."""
        at = 64 + shift * value.itemsize
        whole = np.full(at + value.nbytes + 128, GUARD, np.uint8)
        whole = whole[(-whole.ctypes.data) % 64 :]
        place = whole[at : at + value.nbytes].view(value.dtype).reshape(value.shape)
        place[...] = value
        self._around += [(whole[:at], at), (whole[at + value.nbytes :], 0)]
        return place

    def untouched(self) -> bool:
        return all((piece == GUARD).all() for piece, _ in self._around)


def laid_out(rng: np.random.Generator, value: np.ndarray, guarded: Guarded) -> np.ndarray:
    """The same values, their axes in another order in memory, some of them with gaps or backwards."""
    order = rng.permutation(value.ndim)
    there = guarded(np.ascontiguousarray(value.transpose(order)), int(rng.integers(3)))
    found = there.transpose(np.argsort(order))
    if value.ndim and rng.random() < 0.3:
        axis = int(rng.integers(value.ndim))
        wide = np.repeat(found, 2, axis)
        found = wide[(slice(None),) * axis + (slice(None, None, 2),)]
    if value.ndim and rng.random() < 0.3:
        axis = int(rng.integers(value.ndim))
        found = np.flip(np.ascontiguousarray(np.flip(found, axis)), axis)
    assert found.tobytes() == value.tobytes()
    return found


def drawn(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Any finite bits."""
    if dtype == "bool":
        return rng.random(shape) < 0.5
    raw = rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]
    if np.dtype(dtype).kind == "f":
        raw = np.where(np.isfinite(raw), raw, np.finfo(dtype).max).astype(dtype)
    return np.ascontiguousarray(raw)


CASE = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 30),
        "states": st.lists(st.tuples(st.sampled_from(DTYPES), st.sampled_from(SHAPES)), max_size=4),
        "outputs": st.lists(st.tuples(st.sampled_from(DTYPES), st.sampled_from(SHAPES)), max_size=2),
        "streams": st.integers(1, 9),
        "filled": st.integers(0, 3),
        "spoilt": st.integers(0, 5),
        "halted": st.integers(0, 3),
    }
)
VALUES = (np.nan, np.inf, -np.inf)


@given(case=CASE)
@settings(max_examples=40, deadline=None)
def test_settle_keeps_what_plain_statements_keep(case: dict[str, Any]) -> None:
    needs_compiler()
    rng, guarded = np.random.default_rng(case["seed"]), Guarded()
    streams, scratch = case["streams"], int(rng.integers(15))
    rows = rng.permutation(np.setdiff1d(np.arange(15), [scratch]))[:streams]
    index = np.concatenate([rows, np.full(case["filled"], scratch)])
    steps = [int(rng.integers(1, 4)) for _ in case["outputs"]]
    outputs = [drawn(rng, (t, index.size, *s), d) for t, (d, s) in zip(steps, case["outputs"], strict=True)]
    states = [drawn(rng, (index.size, *shape), dtype) for dtype, shape in case["states"]]
    floats = [value for value in (*outputs, *states) if value.dtype.kind == "f" and value.size]
    for _ in range(case["spoilt"] if floats else 0):
        value = floats[int(rng.integers(len(floats)))]
        value.reshape(-1)[int(rng.integers(value.size))] = VALUES[int(rng.integers(3))]
    arrays = [drawn(rng, (15, *shape), dtype) for dtype, shape in case["states"]]
    halted = np.isin(np.arange(15), rng.integers(0, 15, case["halted"]))
    found = []
    for moves in (PlainMoves(np), KernelMoves(np, HostKernel)):
        place = [guarded(array) for array in arrays]
        rooms = [guarded(np.zeros_like(value)) for value in outputs]
        mine, good = guarded(halted), guarded(np.zeros(index.size, bool))
        gave, new = ([laid_out(rng, value, guarded) for value in values] for values in (outputs, states))
        moves.settle(Made(gave, rooms, new, place), guarded(index), mine, scratch, good)
        kept = np.arange(15) != scratch
        found.append([good[:streams], mine[kept], *rooms, *(array[kept] for array in place)])
        if isinstance(moves, KernelMoves):
            assert all(a[scratch].tobytes() == b[scratch].tobytes() for a, b in zip(place, arrays, strict=True))
            assert mine[scratch] == halted[scratch]
    for plain, kernels in zip(*found, strict=True):
        assert plain.tobytes() == kernels.tobytes()
    assert guarded.untouched()


@given(case=CASE, axis=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_rows_are_taken_packed_and_unpacked_as_by_plain_statements(case: dict[str, Any], axis: int) -> None:
    needs_compiler()
    rng, guarded = np.random.default_rng(case["seed"]), Guarded()
    arrays = [guarded(drawn(rng, (15, *shape), dtype)) for dtype, shape in case["states"]]
    index = guarded(rng.permutation(15)[: case["streams"]])
    axes = [min(axis, array.ndim - 1) for array in arrays]
    width, found = sum(array[0].nbytes for array in arrays), []
    for moves in (PlainMoves(np), KernelMoves(np, HostKernel)):
        taken = moves.take(arrays, index, axes)
        assert [value.shape for value in taken] == [(index.size, *array.shape[1:]) for array in arrays]
        packed = guarded(np.zeros((index.size, width), np.uint8), int(rng.integers(20)))
        moves.pack(arrays, index, packed)
        elsewhere = [guarded(np.zeros_like(array)) for array in arrays]
        moves.unpack(packed, elsewhere, index)
        found.append([*taken, packed, *elsewhere])
        if isinstance(moves, KernelMoves):
            assert all(np.moveaxis(value, 0, at).flags.c_contiguous for value, at in zip(taken, axes, strict=True))
    for plain, kernels in zip(*found, strict=True):
        assert plain.tobytes() == kernels.tobytes()
    assert guarded.untouched()


def test_what_is_known_of_a_call_is_not_taken_for_another(moves: KernelMoves) -> None:
    """Other strides, steps and addresses, one at a time, of the same types and shapes."""
    rng, guarded, index = np.random.default_rng(0), Guarded(), np.array([4, 0, 2])
    for steps, shift, turned in product((1, 3, 2), (0, 1, 2), (False, True)):
        output, state = drawn(rng, (steps, 3, 4), "float32"), drawn(rng, (3, 2, 4), "float32")
        output.reshape(-1)[int(rng.integers(output.size))] = np.nan
        array, room, good = guarded(np.zeros((6, 2, 4), np.float32)), guarded(np.zeros_like(output)), np.zeros(3, bool)
        gave, new = (
            guarded(np.ascontiguousarray(value.swapaxes(0, 1)), shift).swapaxes(0, 1)
            if turned
            else guarded(value, shift)
            for value in (output, state)
        )
        moves.settle(Made([gave], [room], [new], [array]), index, np.zeros(6, bool), 5, good)
        assert room.tobytes() == output.tobytes()
        assert good.tolist() == np.isfinite(output).all(axis=(0, 2)).tolist()
        assert array[index[good]].tobytes() == state[good].tobytes()
    assert guarded.untouched()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_largest_and_smallest_numbers_are_finite_and_all_kinds_of_nan_are_not(moves: KernelMoves, dtype: str) -> None:
    info, bits = np.finfo(dtype), f"u{np.dtype(dtype).itemsize}"
    values = np.array(
        [0, -0.0, info.max, info.min, info.tiny, info.smallest_subnormal, 1, np.inf, -np.inf, np.nan, 0, 0], dtype
    )
    quiet = values.view(bits)[9]
    values.view(bits)[10], values.view(bits)[11] = quiet | 1, ~np.zeros(1, bits)[0]  # a payload; all bits, the sign too
    good, index = np.zeros(12, bool), np.arange(12)
    moves.settle(Made([], [], [values[:, None]], [np.zeros((13, 1), dtype)]), index, np.zeros(13, bool), 12, good)
    assert good.tolist() == [True] * 7 + [False] * 5


@pytest.mark.parametrize("signature", [LSTM, MIXED, manifest()], ids=["lstm", "mixed", "no states"])
def test_check_passes_kernels_that_do_the_same(moves: KernelMoves, signature: Manifest) -> None:
    check_moves(moves, signature, np)


MISTAKES = {
    "a bad stream is kept": ("if (!bad && row != scratch) {", "if (row != scratch) {"),
    "a halted row is stepped": ("int bad = halted[row];", "int bad = 0;"),
    "a bad row does not halt": ("halted[row] = 1", "halted[row] = 0"),
    "good is bad": ("good[stream] = !bad", "good[stream] = bad != 0"),
    "only one thread's words are looked at": ("bad = __syncthreads_or(bad);", "__syncthreads_or(bad);"),
    "nothing is tested": ("bad |= !finite", "bad |= 0 & finite"),
    "only the first element of a word is tested": ("i < LANES", "i < 1"),
    "only NaN of one kind is bad": (") != exponent", ") != (Lane)(exponent | 1)"),
    "the first words are left out": ("k = threadIdx.x;", "k = threadIdx.x + 1;"),
    "rows are streams": ("row = index[stream]", "row = index[stream] * 0 + stream"),
    "the first array only": ("case 1: {", "case 1000: {"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_check_refuses_kernels_with_a_mistake(mistake: str) -> None:
    needs_compiler()
    right, wrong = MISTAKES[mistake]
    made: list[str] = []

    def compiler(source: str, name: str) -> HostKernel:
        made.append(source)
        return HostKernel(source.replace(right, wrong), name)

    signature = LSTM if mistake == "only the first element of a word is tested" else MIXED
    with pytest.raises(EngineError, match=r"do not (take|settle) them as plain statements do"):
        check_moves(KernelMoves(np, compiler), signature, np)
    assert any(right in source for source in made)


def call(moves: KernelMoves, streams: int, steps: int) -> None:
    """What a call of an LSTM of 2 x 512 does around the model."""
    arrays, index = [np.zeros((5000, 1, 512), np.float32) for _ in range(4)], np.arange(streams)
    states = moves.take(arrays, index, [1] * 4)
    output = np.zeros((steps, streams, 2), np.float32)
    good = np.zeros(streams, bool)
    moves.settle(Made([output], [output.copy()], states, arrays), index, np.zeros(5001, bool), 5000, good)
    assert good.all()


def test_call_is_two_kernels_whatever_its_size(moves: KernelMoves) -> None:
    for streams, steps in [(1, 1), (8, 1), (64, 4), (7, 16), (256, 1)]:
        call(moves, streams, steps)
    kernels = [kernel for kernel in moves._kernels.values() if isinstance(kernel, HostKernel)]
    assert {kernel.name: kernel.launches for kernel in kernels} == {"move_rows": 5, "settle_rows": 5}


def test_states_of_an_lstm_are_moved_in_words_of_16_bytes() -> None:
    array, room = np.zeros((9, 1, 512), np.float32), np.moveaxis(np.zeros((1, 7, 512), np.float32), 1, 0)
    assert Pairing(array, room, tested=True).plan()[0] == Copy(4, 4, (128,), together=True, tested=True)


def test_nothing_is_launched_for_no_stream(moves: KernelMoves) -> None:
    array, none = np.zeros((3, 4), np.float32), np.zeros(0, np.int64)
    moves.pack([array], none, np.zeros((0, 16), np.uint8))
    assert moves.take([array], none, [0])[0].shape == (0, 4)
    assert moves.take([], np.arange(3), []) == []


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Made([], [], [zeros(2, 4)], [zeros(9, 5)]), r"gave float32\[2, 4\] where float32\[9, 5\]"),
        (lambda: Made([], [], [zeros(2, 4, dtype="float64")], [zeros(9, 4)]), r"gave float64\[2, 4\] where float32"),
        (lambda: Made([zeros(3, 2, 1)], [zeros(1, 2, 1)], [], []), r"gave float32\[3, 2, 1\]"),
        (lambda: Made([], [], [zeros(3, 4)], [zeros(9, 4)]), r"a call of 2 streams gave \[3, 4\]"),
        (
            lambda: Made([], [], [zeros(2, 4, dtype="longdouble")], [zeros(9, 4, dtype="longdouble")]),
            "no kernel of ours tests",
        ),
        (lambda: Made([], [], [zeros(2, 1)] * 130, [zeros(9, 1)] * 130), "for 130 arrays would take"),
        (
            lambda: Made([], [], [np.zeros(33, np.uint8)[1:].view("<f4").reshape(2, 4)], [zeros(9, 4)]),
            "does not lie at",
        ),
    ],
)
def test_what_no_kernel_is_for_is_refused(make: Callable[[], Made], told: str) -> None:
    moves = KernelMoves(np, lambda source, name: pytest.fail("compiled"))
    with pytest.raises(EngineError, match=told):
        moves.settle(make(), np.arange(2), np.zeros(9, bool), 8, np.zeros(2, bool))


def test_source_does_not_depend_on_the_size_of_a_call() -> None:
    def of(streams: int) -> tuple[str, str]:
        states = [Pairing(zeros(streams, 3, 8), zeros(99, 3, 8), tested=True).plan()[0]]
        outputs = [Pairing(zeros(streams, 4, 2), zeros(streams, 4, 2), 2, tested=True).plan()[0]]
        return settle_source(outputs, states), move_source(states, into_rows=True)

    assert of(2) == of(70)
