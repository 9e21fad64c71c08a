"""Modules that no stream can have, each refused by name with what to do instead."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bidirectional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": nn.LSTM(5, 4, bidirectional=True, batch_first=True)})

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder["rnn"](x)[0]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 8, batch_first=True)
        self.look = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        return self.look(y, y, y, need_weights=False)[0]


class CausalAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(5, 4), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        score = self.query(x) @ self.key(x).transpose(1, 2)
        mask = torch.triu(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool), 1)
        return torch.softmax(score.masked_fill(mask, float("-inf")), -1) @ x


class LookAhead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(5, 6, 3, padding=1), nn.ReLU())
        self.rnn = nn.GRU(6, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.front(x.transpose(1, 2)).transpose(1, 2))[0]


class SameConv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv1d(5, 5, 5, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.smooth(x)


class Strided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(5, 6, 4, stride=2)
        self.rnn = nn.GRU(6, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.down(x).transpose(1, 2))[0]


class Reversed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.back = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(x.flip(0))[0].flip(0)


class GlobalNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(1, keepdim=True)) / x.std()


class BatchStatistics(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5, track_running_stats=False)
        self.rnn = nn.GRU(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.norm(x.transpose(1, 2)).transpose(1, 2))[0]


class TimeNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Remembers(nn.Module):
    """Keeps its state from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)
        self.h: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y, self.h = self.rnn(x, self.h)
        return y


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        return y if float(y.abs().max()) > 0.5 else -y


class EverySecond(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        h, out = torch.zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            if t % 2 == 0:
                h = self.cell(x[:, t], h)
            out.append(h)
        return torch.stack(out, 1)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(512, 5))
        self.rnn = nn.GRU(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x + self.place[: x.size(1)])[0]
