"""Truncated backpropagation: state goes on, gradient does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edge_rnn.models import build
from edge_rnn.training import Sequences, chunks


class Accumulator(nn.Module):
    """``h_t = w * h_{t-1} + x_t``, ``y_t = h_t``: gradients can be worked out by hand."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, x, state=None):
        h = torch.zeros(x.shape[1:]) if state is None else state["h"]
        steps = []
        for step in x:
            h = self.w * h + step
            steps.append(h)
        return torch.stack(steps), {"h": h}


def sequences(steps=4, batch=1):
    return Sequences(torch.ones(steps, batch, 1), torch.zeros(steps, batch, 1))


def test_chunks_when_cut_then_the_gradient_equals_the_one_worked_out_by_hand():
    # h: 1, 1+w, 1+w+w2, ... With a cut after two steps h2 is a constant c = 1 + w in the second
    # chunk: y3 = w c + 1, y4 = w (w c + 1) + 1, so d(y3 + y4)/dw = c + 2 w c + 1.
    model = Accumulator(0.5)
    gradients = []
    for chunk in chunks(model, sequences(), 2):
        model.zero_grad()
        chunk.y.sum().backward()
        gradients.append(model.w.grad.item())
    c = 1.5
    assert gradients == pytest.approx([1.0, c + 2 * 0.5 * c + 1])


def test_chunks_when_not_cut_then_the_gradient_is_the_full_one():
    model = Accumulator(0.5)
    (chunk,) = chunks(model, sequences(), 9)
    chunk.y.sum().backward()
    w = 0.5  # d/dw of (1) + (1+w) + (1+w+w2) + (1+w+w2+w3)
    assert model.w.grad.item() == pytest.approx(3 + 2 * 2 * w + 3 * w**2)


@pytest.mark.parametrize("cell", ["elman", "jordan", "lstm", "gru"])
def test_chunks_when_cut_then_an_earlier_chunk_gets_no_gradient(cell):
    model = build(cell, inputs=2, outputs=1, hidden=4)
    x = torch.randn(6, 3, 2, requires_grad=True)
    first, second = chunks(model, Sequences(x, torch.zeros(6, 3, 1)), 3)
    second.y.sum().backward()
    assert (x.grad[:3] == 0).all()
    assert (x.grad[3:] != 0).any()
    assert (first.start, second.start) == (0, 3)


@pytest.mark.parametrize("length", [1, 4, 5, 12, 100])
def test_chunks_when_of_any_length_then_outputs_equal_the_whole_sequence(length):
    model = build("lstm", inputs=2, outputs=3, hidden=4, layers=2)
    data = Sequences(torch.randn(12, 3, 2), torch.randn(12, 3, 3))
    parts = list(chunks(model, data, length))
    whole, state = model(data.x)
    torch.testing.assert_close(torch.cat([part.y for part in parts]), whole, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(parts[-1].state, state, atol=1e-6, rtol=1e-6)
    assert torch.equal(torch.cat([part.target for part in parts]), data.target)


@pytest.mark.parametrize("length", [3, 5, 99])
def test_chunks_when_only_the_last_step_counts_then_gives_that_step_alone(length):
    model = build("gru", inputs=2, outputs=3, hidden=4)
    data = Sequences(torch.randn(12, 5, 2), torch.randn(12, 5, 3))
    (only,) = chunks(model, data, length, last_only=True)
    assert only.y.shape == (1, 5, 3)
    torch.testing.assert_close(only.y, model(data.x)[0][-1:], atol=1e-6, rtol=1e-6)
    only.y.sum().backward()
    assert (model.head.weight.grad != 0).any()


def test_sequences_when_lengths_differ_then_refuses():
    with pytest.raises(ValueError, match="time, batch"):
        Sequences(torch.zeros(3, 2, 1), torch.zeros(3, 1, 1))
