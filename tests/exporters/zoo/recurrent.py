"""torch's own recurrent layers, stacked, joined and wrapped."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Stacked(nn.Module):
    """An encoder, two kinds of layer in a row, a head of several layers."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.LayerNorm(16))
        self.lstm = nn.LSTM(16, 12, num_layers=2, batch_first=True, dropout=0.2)
        self.gru = nn.GRU(12, 10, batch_first=True)
        self.head = nn.Sequential(nn.Linear(10, 8), nn.SiLU(), nn.Dropout(0.1), nn.Linear(8, 3), nn.LogSoftmax(dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.enter(x))
        y, _ = self.gru(y)
        return self.head(y)


class Parallel(nn.Module):
    """Two layers side by side, gated, added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.fast, self.slow = nn.GRU(6, 6), nn.LSTM(6, 6)
        self.gate = nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.fast(x)[0], self.slow(x)[0]
        mix = torch.sigmoid(self.gate(torch.cat([a, b], dim=2)))
        return x + mix * a + (1 - mix) * b


class Dense(nn.Module):
    """Every layer sees all that came before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.GRU(4 + 3 * i, 3, batch_first=True) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat((x, layer(x)[0]), -1)
        return x


class Projected(nn.Module):
    """An LSTM whose output is narrower than its cell."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 9, num_layers=2, proj_size=4)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class Given(nn.Module):
    """The state as an argument, zeros when there is none, and given back."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 7, batch_first=True)
        self.head = nn.Linear(7, 2)

    def init_hidden(self, batch: int) -> tuple[Tensor, Tensor]:
        weight = next(self.parameters())
        return weight.new_zeros(1, batch, 7), weight.new_zeros(1, batch, 7)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None:
            state = self.init_hidden(x.size(0))
        y, state = self.rnn(x, state)
        return self.head(y), state


class Learned(nn.Module):
    """First states that were trained."""

    def __init__(self) -> None:
        super().__init__()
        self.h0 = nn.Parameter(torch.randn(2, 1, 6))
        self.c0 = nn.Parameter(torch.randn(2, 1, 6))
        self.rnn = nn.LSTM(4, 6, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[0]
        return self.rnn(x, (self.h0.expand(-1, b, -1).contiguous(), self.c0.repeat(1, b, 1)))[0]


class First(nn.Module):
    """What of a layer's tuple goes on."""

    def forward(self, returned: tuple[Tensor, Tensor]) -> Tensor:
        return returned[0]


def wrapped() -> nn.Module:
    """A Sequential with layers that return tuples."""
    return nn.Sequential(nn.GRU(5, 8), First(), nn.ELU(), nn.Linear(8, 6), nn.LSTM(6, 4), First(), nn.Softplus())


class Shared(nn.Module):
    """One layer called for two inputs: two states of it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 5, batch_first=True)
        self.head = nn.Linear(10, 1)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        a, b = self.rnn(left)[0], self.rnn(right)[0]
        return {"score": self.head(torch.cat([a, b], -1)).squeeze(-1), "distance": (a - b).abs().sum(-1)}


class Classifier(nn.Module):
    """Tokens in, the last hidden state and cell through a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 8, padding_idx=0)
        self.rnn = nn.LSTM(8, 6, batch_first=True)
        self.head = nn.Linear(12, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        _, (h, c) = self.rnn(self.embedding(tokens))
        return functional.log_softmax(self.head(torch.cat([h[-1], c[-1]], dim=1)), dim=1)


class Normed(nn.Module):
    """Weight norm, batch norm with the statistics of training, RMS norm."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.utils.parametrizations.weight_norm(nn.Linear(5, 8))
        self.norm = nn.BatchNorm1d(8)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.scale = nn.RMSNorm(8)
        with torch.no_grad():
            for _ in range(3):
                self.norm(torch.randn(20, 8) * 2 + 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.enter(x).transpose(1, 2)).transpose(1, 2)
        return self.scale(self.rnn(y)[0] + y)


class Speaker(nn.Module):
    """A side input that stays the same along the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.adapt = nn.Linear(4, 6)
        self.rnn = nn.GRU(11, 8, batch_first=True)

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        wide = self.adapt(speaker).unsqueeze(1).expand(-1, x.size(1), -1)
        return self.rnn(torch.cat([x, wide], dim=-1))[0] * torch.sigmoid(wide[..., :1])


class Autoencoder(nn.Module):
    """Several outputs of a step, squeezed and joined by view and chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.rnn, self.up = nn.Linear(12, 6), nn.RNN(6, 6, nonlinearity="relu"), nn.Linear(6, 24)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        t, b, _ = x.shape
        y = self.down(x.reshape(t * b, 12)).view(t, b, 6)
        mean, spread = self.up(self.rnn(y)[0]).chunk(2, dim=-1)
        spread = functional.softplus(spread).clamp(1e-3, 10)
        return torch.where(mean > 0, mean, 0.1 * mean).view(t, b, 3, 4), spread


class Bilinear(nn.Module):
    """Heads of features by einsum: attention over features, not over time."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 12, batch_first=True)
        self.mix = nn.Parameter(torch.randn(3, 4, 4) / 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.rnn(x)[0].unflatten(-1, (3, 4))
        q = torch.einsum("bthi,hij->bthj", y, self.mix)
        share = torch.softmax(q @ y.transpose(-1, -2) / 2, dim=-1)
        return (share @ y).flatten(2)
