"""Sequences of unequal length in one batch are the same as one by one: outputs, states, losses, gradients."""

from __future__ import annotations

import msgspec
import pytest
import torch

from edge_rnn.contract.errors import UsageError
from edge_rnn.models import EncoderDecoder, build
from edge_rnn.models.classification import class_error
from edge_rnn.training import Prompt, Sequences, Settings, chunks, evaluate, fit

LENGTHS = torch.tensor([7, 2, 11, 5])
CELLS = ["elman", "jordan", "lstm", "gru"]
WAYS = [(cell, both) for cell in CELLS for both in (False, True)]


def made(cell="gru", **arguments):
    torch.manual_seed(4)
    given = {"inputs": 3, "outputs": 4, "hidden": 5, "layers": 2, "task": "classification", **arguments}
    return build(cell, **given).double()


def data() -> Sequences:
    torch.manual_seed(5)
    return Sequences(torch.randn(11, 4, 3, dtype=torch.float64), torch.randint(4, (11, 4)), LENGTHS)


def alone(sequences: Sequences, i: int) -> Sequences:
    end = int(sequences.lengths[i])
    return Sequences(sequences.x[:end, i : i + 1], sequences.target[:end, i : i + 1])


@pytest.mark.parametrize(("cell", "both"), WAYS)
def test_forward_when_lengths_differ_then_equals_one_by_one(cell, both):
    model, sequences = made(cell, bidirectional=both), data()
    y, state = model(sequences.x, None, LENGTHS)
    for i in range(4):
        one = alone(sequences, i)
        found, last = model(one.x)
        torch.testing.assert_close(y[: len(found), i], found[:, 0], rtol=1e-12, atol=1e-13)
        for name in model.state_names:
            torch.testing.assert_close(state[name][:, i], last[name][:, 0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("last_only", [False, True])
@pytest.mark.parametrize("length", [3, 11, 50])
@pytest.mark.parametrize("cell", CELLS)
def test_chunks_when_lengths_differ_then_loss_and_gradient_are_those_of_one_by_one(cell, length, last_only):
    model, sequences = made(cell), data()
    expected, count = 0.0, 0
    for i in range(4):
        for chunk in chunks(model, alone(sequences, i), length, last_only=last_only):
            steps = chunk.y.shape[0]
            (class_error(chunk.y, chunk.target) * steps).backward()
            expected, count = expected + class_error(chunk.y, chunk.target).item() * steps, count + steps
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    found, seen = 0.0, 0
    for chunk in chunks(model, sequences, length, last_only=last_only):
        steps = chunk.y.shape[0] * chunk.y.shape[1]
        (class_error(chunk.y, chunk.target) * steps).backward()
        found, seen = found + class_error(chunk.y, chunk.target).item() * steps, seen + steps
    assert seen == count == (4 if last_only else int(LENGTHS.sum()))
    assert found == pytest.approx(expected, rel=1e-10)
    for p, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-8, atol=1e-11)


def test_evaluate_when_lengths_differ_then_padding_does_not_count():
    model, sequences = made(), data()
    before = evaluate(model, sequences, class_error)
    beyond = torch.arange(11)[:, None] >= LENGTHS
    other = Sequences(
        sequences.x.masked_fill(beyond[..., None], 99.0), sequences.target.masked_fill(beyond, 0), LENGTHS
    )
    assert evaluate(model, other, class_error) == before


def test_pick_when_lengths_differ_then_cuts_to_the_longest():
    picked = data().pick(torch.tensor([1, 3]))
    assert (picked.steps, picked.count, picked.lengths.tolist()) == (5, 2, [2, 5])
    assert data().rows().shape == (25, 3)


@pytest.mark.parametrize("lengths", [[1, 2, 3], [0, 1, 2, 3], [1, 2, 3, 12]])
def test_sequences_when_a_length_is_impossible_then_refuses(lengths):
    with pytest.raises(ValueError, match="lengths"):
        Sequences(torch.zeros(11, 4, 3), torch.zeros(11, 4), torch.tensor(lengths))


def test_bidirectional_when_given_a_state_then_says_what_to_do():
    model, sequences = made("lstm", bidirectional=True), data()
    with pytest.raises(UsageError, match="bidirectional=false"):
        list(chunks(model, sequences, 3))
    settings = Settings(chunk=11, epochs=3, batch=2)
    before = evaluate(model, sequences, class_error)
    fit(model, sequences, sequences, class_error, settings)
    assert evaluate(model, sequences, class_error) < before


@pytest.mark.parametrize("cell", CELLS)
def test_prompt_when_lengths_differ_then_the_decoder_begins_with_each_one_s_own_state(cell):
    tokens = tuple("abcd")
    arguments = {"inputs": 1, "vocabulary": tokens, "prompt_vocabulary": tuple("uvw")}
    model = made(cell, **arguments)
    assert isinstance(model, EncoderDecoder)
    prompt = Prompt(torch.randint(3, (11, 4)), LENGTHS)
    sequences = Sequences(torch.randint(4, (6, 4)), torch.randint(4, (6, 4)), None, prompt)
    (whole,) = chunks(model, sequences, 6)
    for i in range(4):
        state = model.prompt(prompt.tokens[: LENGTHS[i], i : i + 1])
        y, _ = model(sequences.x[:, i : i + 1], state)
        torch.testing.assert_close(whole.y[:, i], y[:, 0], rtol=1e-12, atol=1e-13)
    class_error(whole.y, whole.target).backward()
    assert all((p.grad != 0).any() for name, p in model.named_parameters() if "weight_hh" in name or "embed" in name)


def test_encoder_decoder_when_trained_then_learns_to_turn_its_prompt_round():
    torch.manual_seed(0)
    given = {
        "inputs": 1,
        "outputs": 6,
        "hidden": 24,
        "vocabulary": tuple("01234^"),
        "prompt_vocabulary": tuple("01234"),
    }
    model = build("gru", task="classification", **given)
    source = torch.randint(5, (3, 400))
    target = source.flip(0)
    begin = torch.cat([torch.full((1, 400), 5), target[:-1]])
    sequences = Sequences(begin, target, None, Prompt(source, torch.full((400,), 3)))
    settings = msgspec.structs.replace(Settings(), epochs=40, batch=50, learning_rate=0.02, patience=40)
    fit(model, sequences, sequences, class_error, settings)
    assert evaluate(model, sequences, class_error) < 0.1
