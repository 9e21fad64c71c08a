from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_rnn.contract.errors import GateFailed
from edge_rnn.contract.gates import GATES, check_chunking, check_isolation, check_parity, measure_gates
from edge_rnn.contract.stability import sweep_bits
from edge_rnn.contract.trial import Record, draw_inputs, run_chunks, split_at, split_at_random
from tests.contract.leaky import depending_on_chunks, leaking_over_streams, leaky, noise, overflowing, subject


def recorded(steps: int = 64) -> tuple[list[np.ndarray], Record]:
    inputs = noise(steps)
    return inputs, run_chunks(subject(), inputs, [1] * steps)


def test_gates_of_a_right_step_function_pass_with_their_figures() -> None:
    inputs, expected = recorded()
    figures = dict(measure_gates(subject(), inputs, expected))
    assert tuple(figures) == GATES
    assert all(figure.max_abs_error == 0 and figure.steps == 64 for figure in figures.values())
    assert figures["isolation"].batch == 8
    assert figures["parity"].bound == pytest.approx(1e-6 * max(1.0, float(np.abs(expected.outputs[0]).max())))


def test_parity_when_an_output_is_off_names_output_step_stream_and_distance() -> None:
    inputs, expected = recorded()
    expected.outputs[0][16, 2, 1] += 0.25
    with pytest.raises(GateFailed, match=r"parity: output 'y' at step 17 of 64 \(stream 2\) is off by 0\.25, allowed"):
        check_parity(subject(), inputs, Record(expected.outputs, {}), [64])


def test_parity_when_only_a_state_is_off_names_the_state() -> None:
    inputs, expected = recorded()
    states = {64: [expected.states[64][0] * 2]}
    with pytest.raises(GateFailed, match=r"parity: state 's' after step 64 of 64 \(stream 0\) is off by"):
        check_parity(subject(), inputs, Record(expected.outputs, states), [64])


def test_parity_when_the_shape_is_wrong_names_both_shapes() -> None:
    inputs, expected = recorded()
    with pytest.raises(GateFailed, match=r"output 'y' has shape \[64, 4, 3\], expected \[64, 4, 2\]"):
        check_parity(subject(), inputs, Record([expected.outputs[0][..., :2]], {}), [64])


def test_isolation_when_state_leaks_over_streams_fails() -> None:
    with pytest.raises(GateFailed, match=r"isolation: .* must not depend on its neighbours"):
        check_isolation(subject(leaking_over_streams), noise())


def test_isolation_when_only_loud_neighbours_overflow_passes() -> None:
    quiet = [value * np.float32(0.1) for value in noise()]
    assert check_isolation(subject(overflowing), quiet).max_abs_error == 0


def test_chunking_when_results_depend_on_the_split_fails() -> None:
    with pytest.raises(GateFailed, match=r"chunking: output 'y' at step \d+ of 64 .* must not depend on how time"):
        check_chunking(subject(depending_on_chunks), noise())


def test_parity_when_a_state_is_not_finite_says_so() -> None:
    inputs, expected = recorded()
    with pytest.raises(GateFailed, match=r"parity: state 's' after step \d+ of 64 \(stream \d\) is not finite"):
        check_parity(subject(overflowing), inputs, expected, [1] * 64)


@pytest.mark.parametrize(
    ("step", "gate"), [(leaking_over_streams, "isolation"), (depending_on_chunks, "chunking")], ids=["leak", "chunks"]
)
def test_measure_gates_when_a_fault_hides_from_parity_the_right_gate_finds_it(step: object, gate: str) -> None:
    quiet = [np.repeat(noise(64, 1)[0], 4, axis=1)]  # equal streams: a leak between them changes nothing
    expected = run_chunks(subject(), quiet, [1] * 64)
    passed: list[str] = []
    with pytest.raises(GateFailed, match=f"^{gate}: "):
        passed.extend(name for name, _ in measure_gates(subject(step), quiet, expected))  # type: ignore[arg-type]
    assert passed == list(GATES[: GATES.index(gate)])


def test_gates_without_a_time_axis_make_single_steps_only() -> None:
    def one_step(inputs: list[np.ndarray], states: list[np.ndarray], /) -> object:
        assert inputs[0].shape[0] == 1
        return leaky(inputs, states)

    inputs, expected = recorded(32)
    alone = subject(one_step, has_time=False)  # type: ignore[arg-type]
    assert len(dict(measure_gates(alone, inputs, expected))) == 4
    assert sweep_bits(alone, noise(34, 33), "numpy").chunks == (1,)


def test_sweep_bits_when_a_bit_differs_says_how_far() -> None:
    def odd(inputs: list[np.ndarray], states: list[np.ndarray], /) -> object:
        outputs, new = leaky(inputs, states)
        return [outputs[0] + np.float32(2**-20) * (inputs[0].shape[1] == 7)], new

    assert sweep_bits(subject(), noise(34, 33), "numpy").holds
    bits = sweep_bits(subject(odd), noise(34, 33), "numpy")  # type: ignore[arg-type]
    assert not bits.holds
    assert 0 < bits.max_abs_error < 1e-5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_run_chunks_any_split_gives_the_same(chunks: list[int]) -> None:
    inputs = noise(sum(chunks))
    found, single = run_chunks(subject(), inputs, chunks), run_chunks(subject(), inputs, [1] * sum(chunks))
    assert np.array_equal(found.outputs[0], single.outputs[0])
    assert all(np.array_equal(state[0], single.states[mark][0]) for mark, state in found.states.items())


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32), st.integers(1, 70))
def test_splits_cover_every_step_once(steps: int, seed: int, longest: int) -> None:
    assert sum(split_at_random(np.random.default_rng(seed), steps)) == steps
    chunks = split_at([1, 2, 64], steps, longest)
    assert sum(chunks) == steps
    assert max(chunks) <= longest
    assert {mark for mark in (1, 2, 64) if mark <= steps} <= set(np.cumsum(chunks).tolist())


def test_draw_inputs_keeps_tokens_in_the_vocabulary_and_values_near_the_samples() -> None:
    tokens = np.asarray([[[3], [7]]], np.int64)
    values = (100 + np.random.default_rng(0).standard_normal((32, 2, 1))).astype(np.float32)
    drawn_tokens, drawn_values = draw_inputs([tokens, values], 50, 5, np.random.default_rng(1))
    assert set(drawn_tokens.ravel().tolist()) <= {3, 7}
    assert drawn_tokens.dtype == np.int64
    assert drawn_values.shape == (50, 5, 1)
    assert drawn_values.dtype == np.float32
    assert 90 < drawn_values.min() < drawn_values.max() < 110
