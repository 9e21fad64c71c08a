"""Loops over time in Python: cells, states and lists as users write them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class GRUCellLoop(nn.Module):
    """A list that is stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(5, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), 8)
        ys = []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            ys.append(self.head(h))
        return torch.stack(ys, dim=1)


class LSTMCellStack(nn.Module):
    """Two cells a step, dropout between, an output tensor made beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.LSTMCell(4, 6), nn.LSTMCell(6, 5)])
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        steps, batch, _ = x.shape
        states = [(x.new_zeros(batch, n), x.new_zeros(batch, n)) for n in (6, 5)]
        out = torch.empty(steps, batch, 5)
        for t in range(steps):
            y = x[t]
            for i, cell in enumerate(self.cells):
                states[i] = cell(y, states[i])
                y = self.dropout(states[i][0])
            out[t] = y
        return out


class RNNCellCat(nn.Module):
    """Steps unbound, joined again by cat."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNNCell(3, 7)

    def forward(self, x: Tensor) -> Tensor:
        h, out = None, []
        for row in x.unbind(1):
            h = self.cell(row, h)
            out.append(h.unsqueeze(1))
        return torch.cat(out, dim=1)


class Feedback(nn.Module):
    """The last output is part of the next input (a Jordan network's way)."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3 + 2, 6)
        self.head = nn.Linear(6, 2)
        self.start = nn.Parameter(torch.randn(2))

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        h = torch.zeros(b, 6)
        y = self.start.expand(b, 2)
        out = torch.zeros(b, t, 2)
        for i in range(t):
            h = self.cell(torch.cat([x[:, i, :], y], dim=1), h)
            y = torch.tanh(self.head(h))
            out[:, i, :] = y
        return out


class MinimalGated(nn.Module):
    """A cell of one's own (Zhou et al., 2016)."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.forget = nn.Linear(inputs + hidden, hidden)
        self.candidate = nn.Linear(inputs + hidden, hidden)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        f = torch.sigmoid(self.forget(torch.cat([x, h], -1)))
        return (1 - f) * h + f * torch.tanh(self.candidate(torch.cat([x, f * h], -1)))


class CustomCell(nn.Module):
    """The cell above, in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = MinimalGated(4, 9)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], self.cell.hidden)
        out = []
        for row in x:
            h = self.cell(row, h)
            out.append(h)
        return torch.stack(out)


class Traces(NamedTuple):
    fast: Tensor
    slow: Tensor


class Leaky(nn.Module):
    """Leaky integrators with learnt rates: several states, an output of names."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor([0.5, 1.5, 3.0]))

    def forward(self, x: Tensor) -> Traces:
        a, b = torch.sigmoid(self.rate), torch.sigmoid(self.rate - 3)
        fast = slow = torch.zeros_like(x[:, 0])
        fasts, slows = [], []
        for t in range(x.shape[1]):
            fast = (1 - a) * fast + a * x[:, t]
            slow = (1 - b) * slow + b * fast
            fasts.append(fast)
            slows.append(slow)
        return Traces(torch.stack(fasts, 1), torch.stack(slows, 1))


class Smoothed(nn.Module):
    """Exponential averages that start from a plain number, and the difference from them."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mean: Tensor | float = 0.0
        out = []
        for t in range(x.shape[1]):
            mean = 0.95 * mean + 0.05 * x[:, t]
            out.append(x[:, t] - mean)
        return self.rnn(torch.stack(out, dim=1))[0]


class FastWeights(nn.Module):
    """A matrix as state: what was seen, written and read by outer products (linear attention with a decay)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(6, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        memory = torch.zeros(x.size(0), 4, 4)
        out = []
        for row in x.unbind(1):
            k, v, q = functional.elu(self.key(row)) + 1, self.value(row), functional.elu(self.query(row)) + 1
            memory = 0.9 * memory + k.unsqueeze(2) * v.unsqueeze(1)
            out.append(torch.bmm(q.unsqueeze(1), memory).squeeze(1))
        return torch.stack(out, 1)


class Delayed(nn.Module):
    """A cell that also sees the state of two steps ago, and the input before this one."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        h, before, last = torch.zeros(b, 8), torch.zeros(b, 8), torch.zeros(b, 3)
        out = []
        for t in range(x.shape[1]):
            new = torch.tanh(self.enter(torch.cat([x[:, t], last], 1)) + self.one(h) + self.two(before))
            h, before, last = new, h, x[:, t]
            out.append(h)
        return torch.stack(out, 1)


class LastOnly(nn.Module):
    """A loop of which the last state alone goes to the head."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(4, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        h, c = torch.zeros(x.size(0), 7), torch.zeros(x.size(0), 7)
        for t in range(x.size(1)):
            h, c = self.cell(x[:, t], (h, c))
        return torch.softmax(self.head(h), dim=-1)


class StepMethod(nn.Module):
    """A step of its own, which says how the module streams whatever its forward does."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(5, 6)
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError("forward looks at the whole sequence")

    def step(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None:
            state = (x.new_zeros(x.shape[0], 6), x.new_full((x.shape[0], 6), -1e9))
        h, top = state
        h = self.cell(x, h)
        top = torch.maximum(top, h)
        return self.head(torch.cat([h, top], -1)), (h, top)


class OneStep(nn.Module):
    """A forward for one step, as for torch's cells: the caller carries the state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(5, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = self.cell(x, h)
        return self.head(h), h
