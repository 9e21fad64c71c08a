"""Modules as users write them: a forward of their own around torch's layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Tagger(nn.Module):
    """Batch first, stacked, zero states made by hand, a head of several layers."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.hidden = hidden
        self.rnn = nn.LSTM(5, hidden, num_layers=2, batch_first=True, dropout=0.1)
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Sequential(nn.Linear(hidden, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(2, x.size(0), self.hidden).to(x.device)
        y, _ = self.rnn(x, (zeros, zeros))
        return self.head(self.norm(y))


class LastStep(nn.Module):
    """Tokens in, the last step only out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.rnn = nn.GRU(6, 7, batch_first=True)
        self.head = nn.Linear(7, 4)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> Tensor:
        y, state = self.rnn(self.embedding(tokens), state)
        return torch.softmax(self.head(y[:, -1]), dim=1)


class LastHidden(nn.Module):
    """The last hidden state of the top layer, time first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 9, num_layers=2)
        self.head = nn.Linear(9, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        _, (h, _c) = self.rnn(x)
        return self.head(functional.relu(h[-1]))


class Residual(nn.Module):
    """Sums, products, joined tensors, axes swapped inside, several outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.tensor([0.5, 2.0, 1.0, -1.0]))
        self.enter = nn.Linear(4, 4)
        self.first = nn.GRU(4, 4, bias=False)
        self.second = nn.RNN(8, 5, nonlinearity="relu")
        self.head = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = torch.tanh(self.enter(x * self.gain + 0.25)).transpose(0, 1)
        y = self.first(x)[0] - x / 2
        wide, _ = self.second(torch.cat([y, x], dim=-1))
        return {"level": self.head(wide).sigmoid(), "wide": wide}


class TwoInputs(nn.Module):
    """Two streamed arguments, a scalar a step out, and the state beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.rnn = nn.RNN(5, 6, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, x: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.rnn(torch.cat((x, self.embedding(kind)), -1))
        return self.head(y).squeeze(-1), h


class Bidirectional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"rnn": nn.GRU(5, 4, bidirectional=True)})

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder["rnn"](x)[0]


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(5, 5, 3)
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.conv(x).permute(2, 0, 1))[0]


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 4, proj_size=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        return y if y.sum() > 0 else -y


class MeanOverTime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0].mean(0)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.rnn(x)[0])[0]


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.full((x.shape[1],), x.shape[0])
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths)
        return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0])[0]


class Reading(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor(self.rnn(x)[0].tolist()) * 2


class Choosing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        return y if float(x.new_tensor(1.0) + self.count(y)) > 0 else -y

    def count(self, y: Tensor) -> Tensor:
        return torch.arange(len(y))[-1]


class Noise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(self.rnn(x)[0], 0.5)


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.inv(self.rnn(x)[0].unflatten(-1, (2, 2)) + 2 * torch.eye(2))


class Aliased(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0]
        y[3:5] = 0
        return y


class LateChange(nn.Module):
    """One step like the other for a hundred steps."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        h, out = torch.zeros(x.shape[0], 4), []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            out.append(h if t < 100 else -h)
        return torch.stack(out, 1)


def make(kind: str = "gru", hidden: int = 4) -> nn.Module:
    """A factory."""
    return nn.GRU(5, hidden) if kind == "gru" else nn.LSTM(5, hidden)


made = make()
number = 3


class Logarithm(nn.Module):
    """Takes the log of what may be negative."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0].log()


class Double(nn.Module):
    """Computes in double precision whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4, batch_first=True).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.double())[0]


class Compiled(nn.Module):
    """A layer compiled by torch.jit."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = torch.jit.script(nn.GRU(5, 4, batch_first=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class CellApart(nn.Module):
    """An LSTM cell whose h and c are arguments and results of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(5, 4)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, c = self.cell(x, (h, c))
        return 2 * h, h, c


class ByName(nn.Module):
    """Its input has to be named."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 4, batch_first=True)

    def forward(self, *, x: Tensor) -> Tensor:
        return self.rnn(x)[0]
