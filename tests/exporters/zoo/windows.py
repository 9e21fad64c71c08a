"""Causal convolutions, windows and running statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Trimmed(nn.Module):
    """A causal convolution by padding both sides and cutting the end."""

    def __init__(self, inputs: int, outputs: int, width: int, dilation: int) -> None:
        super().__init__()
        self.reach = (width - 1) * dilation
        self.conv = nn.Conv1d(inputs, outputs, width, padding=self.reach, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)[:, :, : -self.reach]


class TCN(nn.Module):
    """A temporal convolutional network (Bai et al., 2018): dilated, residual, trimmed."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for i in range(3):
            blocks += [Trimmed(8, 8, 3, 2**i), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1)]
        self.enter, self.body = nn.Conv1d(4, 8, 1), nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return torch.relu(x + self.body(x))


class Padded(nn.Module):
    """An explicit pad on the left, depthwise and pointwise, in front of a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.depth, self.point = nn.Conv1d(6, 6, 5, groups=6), nn.Conv1d(6, 10, 1)
        self.rnn = nn.GRU(10, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.pad(x.transpose(1, 2), (4, 0))
        y = functional.hardswish(self.point(self.depth(y))).transpose(1, 2)
        return self.rnn(y)[0]


class WaveNet(nn.Module):
    """Gated dilated convolutions with skips (van den Oord et al., 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv1d(1, 6, 1)
        self.filters = nn.ModuleList(nn.Conv1d(6, 12, 2, dilation=2**i) for i in range(4))
        self.out = nn.ModuleList(nn.Conv1d(6, 6, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        y, skips = self.enter(x), 0
        for i, (filters, out) in enumerate(zip(self.filters, self.out, strict=True)):
            a, b = filters(functional.pad(y, (2**i, 0))).chunk(2, dim=1)
            z = out(torch.tanh(a) * torch.sigmoid(b))
            skips, y = skips + z, y + z
        return functional.relu(skips)


class Spectrum(nn.Module):
    """A two-dimensional convolution over time and bands, causal in time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (3, 3), stride=(1, 2), padding=(0, 1))
        self.rnn = nn.GRU(4 * 5, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(functional.pad(x.unsqueeze(1), (0, 0, 2, 0)))
        return self.rnn(y.permute(0, 2, 1, 3).flatten(2))[0]


class RunningNorm(nn.Module):
    """Normalised by the mean of what came so far (cumulative, as in streaming speech models)."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.shape[1] + 1).view(1, -1, 1)
        mean = torch.cumsum(x, dim=1) / count
        square = torch.cumsum(x * x, dim=1) / count
        x = (x - mean) / torch.sqrt((square - mean * mean).clamp(min=0) + 1.0)
        return self.rnn(x)[0]


class Differences(nn.Module):
    """The input, its change and the one before: shifts by slices and zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(9, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        zeros = x.new_zeros(x.size(0), 1, x.size(2))
        before = torch.cat([zeros, x[:, :-1]], dim=1)
        change = torch.cat([zeros, x[:, 1:] - x[:, :-1]], dim=1)
        return self.rnn(torch.cat([x, before, change], dim=-1))[0]


class Windows(nn.Module):
    """The last steps side by side, by unfold and a pool."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        wide = functional.pad(x, (0, 0, 5, 0)).unfold(1, 6, 1)
        top = functional.max_pool1d(functional.pad(x.transpose(1, 2), (3, 0), value=-9.0), 4, stride=1)
        return torch.cat([self.head(wide.flatten(2)), top.transpose(1, 2)], -1)


class MeanPooled(nn.Module):
    """A mean and a maximum over time in front of the head: so far, in a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 6, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        return self.head(torch.cat([y.mean(dim=1), y.max(dim=1).values], dim=-1))


class Positions(nn.Module):
    """The number of the step as an input, in a wave."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        place = torch.arange(x.shape[0]).float().view(-1, 1, 1) * torch.tensor([0.1, 0.01])
        return self.rnn(torch.cat([x, place.sin().expand(-1, x.shape[1], -1)], -1))[0]
