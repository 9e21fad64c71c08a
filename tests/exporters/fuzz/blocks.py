"""Blocks that take and give ``[batch, time, feature]``, each causal, written the many ways in which users write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS = {
    kind.__name__: kind
    for kind in (
        nn.ReLU,
        nn.Tanh,
        nn.Sigmoid,
        nn.GELU,
        nn.SiLU,
        nn.Mish,
        nn.ELU,
        nn.CELU,
        nn.SELU,
        nn.LeakyReLU,
        nn.PReLU,
        nn.Softplus,
        nn.Softsign,
        nn.Hardswish,
        nn.Hardsigmoid,
        nn.Hardtanh,
        nn.Tanhshrink,
        nn.Softshrink,
        nn.LogSigmoid,
        nn.ReLU6,
    )
}


class Dense(nn.Module):
    """A linear layer, one of the norms or none, an activation, dropout."""

    def __init__(self, width: int, out: int, activation: str, norm: str) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out)
        self.activation = ACTIVATIONS[activation]()
        self.norm = {"layer": nn.LayerNorm(out), "rms": nn.RMSNorm(out), "batch": nn.BatchNorm1d(out)}.get(norm)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.linear(x))
        if isinstance(self.norm, nn.BatchNorm1d):
            y = self.norm(y.transpose(1, 2)).transpose(1, 2)
        elif self.norm is not None:
            y = self.norm(y)
        return self.dropout(y)


class Layer(nn.Module):
    """torch's own layers."""

    def __init__(self, width: int, out: int, kind: str, layers: int, batch_first: bool, first: str) -> None:
        super().__init__()
        named = {"nonlinearity": "relu"} if kind == "RELU" else {"proj_size": out} if kind == "PROJ" else {}
        made = {"RELU": nn.RNN, "RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM, "PROJ": nn.LSTM}[kind]
        hidden = out + 2 if kind == "PROJ" else out
        self.rnn = made(width, hidden, num_layers=layers, batch_first=batch_first, **named)
        self.batch_first = batch_first
        self.first = first
        self.start = nn.Parameter(torch.randn(layers, 1, out) / 2)
        self.cell = nn.Parameter(torch.randn(layers, 1, hidden) / 2)

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        x = x if self.batch_first else x.transpose(0, 1)
        state: object = None
        if self.first == "zeros":
            h, c = (
                torch.zeros(self.start.shape[0], batch, self.start.shape[2]),
                x.new_zeros(len(self.cell), batch, self.cell.shape[2]),
            )
            state = (h, c) if isinstance(self.rnn, nn.LSTM) else h
        elif self.first == "learnt":
            h, c = self.start.repeat(1, batch, 1), self.cell.expand(-1, batch, -1).contiguous()
            state = (h, c) if isinstance(self.rnn, nn.LSTM) else h
        y = self.rnn(x, state)[0]
        return y if self.batch_first else y.transpose(0, 1)


class CellLoop(nn.Module):
    """A cell in a loop over time; ``collect`` says how its steps are put together."""

    def __init__(self, width: int, out: int, kind: str, collect: str, first: str, feedback: bool) -> None:
        super().__init__()
        inputs = width + out if feedback else width
        self.kind, self.collect, self.first, self.feedback, self.out = kind, collect, first, feedback, out
        if kind in ("GRUCell", "LSTMCell", "RNNCell"):
            self.cell = getattr(nn, kind)(inputs, out)
        else:
            self.enter, self.back = nn.Linear(inputs, out), nn.Linear(out, out, bias=False)
        self.start = nn.Parameter(torch.randn(out) / 2)
        self.head = nn.Linear(out, out)

    def _advance(self, row: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        if self.kind == "LSTMCell":
            h, c = self.cell(row, (h, c))
            return h, c
        if self.kind in ("GRUCell", "RNNCell"):
            return self.cell(row, h), c
        new = torch.tanh(self.enter(row) + self.back(h))
        gate = torch.sigmoid(c)
        return gate * h + (1 - gate) * new, 0.9 * c + 0.1 * new

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        h = self.start.expand(batch, -1) if self.first == "learnt" else torch.zeros(batch, self.out)
        c = torch.zeros_like(h)
        y = x.new_zeros(batch, self.out)
        ys: list[Tensor] = []
        made = torch.zeros(batch, steps, self.out)
        for t in range(steps):
            row = x[:, t]
            if self.feedback:
                row = torch.cat([row, y], dim=-1)
            h, c = self._advance(row, h, c)
            y = torch.tanh(self.head(h)) if self.feedback else h
            if self.collect == "made":
                made[:, t] = y
            else:
                ys.append(y.unsqueeze(1) if self.collect == "cat" else y)
        if self.collect == "made":
            return made
        if self.collect == "cat":
            return torch.cat(ys, 1)
        return torch.stack(ys, 1) if self.collect == "stack" else torch.stack(ys).permute(1, 0, 2)


class Conv(nn.Module):
    """A causal convolution: padded on the left, or on both sides and trimmed."""

    def __init__(self, width: int, out: int, size: int, dilation: int, trim: bool, depthwise: bool) -> None:
        super().__init__()
        self.reach = (size - 1) * dilation
        self.trim = trim
        out_channels = width if depthwise else out
        self.conv = nn.Conv1d(
            width,
            out_channels,
            size,
            dilation=dilation,
            padding=self.reach if trim else 0,
            groups=width if depthwise else 1,
        )
        self.point = nn.Conv1d(out_channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(1, 2)
        if self.trim:
            y = self.conv(y)
            y = y[:, :, : -self.reach] if self.reach else y
        else:
            y = self.conv(functional.pad(y, (self.reach, 0)))
        return self.point(y).transpose(1, 2)


class Shape(nn.Module):
    """Views, products and statistics that keep the width or change it by a linear layer."""

    def __init__(self, width: int, out: int, how: str) -> None:
        super().__init__()
        self.how = how
        self.head = nn.Linear(SIZES.get(how, lambda n: n)(width), out)
        self.mix = nn.Parameter(torch.randn(width, width) / width)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(getattr(self, f"_{self.how}")(x))

    def _glu(self, x: Tensor) -> Tensor:
        a, b = torch.cat([x, x.flip(-1)], -1).chunk(2, dim=-1)
        return a * torch.sigmoid(b)

    def _einsum(self, x: Tensor) -> Tensor:
        return torch.einsum("btf,fg->btg", x, self.mix)

    def _flat(self, x: Tensor) -> Tensor:
        batch, steps, width = x.shape
        return torch.relu(x.reshape(batch * steps, width) @ self.mix).view(batch, steps, width)

    def _shift(self, x: Tensor) -> Tensor:
        return torch.cat([x, torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)], -1)

    def _change(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))

    def _so_far(self, x: Tensor) -> Tensor:
        return x - x.cumsum(1) / torch.arange(1, x.size(1) + 1)[None, :, None]

    def _window(self, x: Tensor) -> Tensor:
        return functional.pad(x, (0, 0, 2, 0)).unfold(1, 3, 1).flatten(2)

    def _pool(self, x: Tensor) -> Tensor:
        return functional.max_pool1d(functional.pad(x.mT, (3, 0), value=-9.0), 4, stride=1).mT

    def _norm(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=-1) + x.softmax(-1) - x.std(-1, keepdim=True)

    def _choose(self, x: Tensor) -> Tensor:
        return torch.where(x > x.mean(-1, keepdim=True), x, -0.5 * x).clamp(-2, 2)

    def _heads(self, x: Tensor) -> Tensor:
        y = torch.stack([x, x * 0.5, x.tanh()], dim=2)
        share = torch.softmax(y @ y.transpose(-1, -2) / y.shape[-1], dim=-1)
        return (share @ y).mean(2)

    def _running(self, x: Tensor) -> Tensor:
        mean, out = 0.0, []
        for t in range(x.shape[1]):
            mean = 0.9 * mean + 0.1 * x[:, t]
            out.append(x[:, t] - mean)
        return torch.stack(out, 1)


SIZES = {"shift": lambda n: 2 * n, "window": lambda n: 3 * n}
SHAPES = sorted(name[1:] for name in vars(Shape) if name.startswith("_") and not name.startswith("__"))


class Around(nn.Module):
    """Blocks joined: a sum, side by side, gated, or added to what came in."""

    def __init__(self, how: str, first: nn.Module, second: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.how, self.first, self.second, self.gate = how, first, second, gate

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "row":
            return self.second(self.first(x))
        a, b = self.first(x), self.second(x)
        if self.how == "beside":
            return self.gate(torch.cat((a, b), dim=-1))
        if self.how == "gated":
            return a * torch.sigmoid(b)
        return a + b


class Net(nn.Module):
    """A body between an input and an output of one of the kinds that users have."""

    def __init__(self, body: nn.Module, enter: str, leave: str, width: int, out: int) -> None:
        super().__init__()
        self.enter, self.leave, self.body = enter, leave, body
        self.embedding = nn.Embedding(23, width)
        self.side = nn.Linear(4, width)
        self.head = nn.Linear(out, 3)

    def forward(self, x: Tensor, other: Tensor | None = None) -> object:
        if self.enter == "tokens":
            x = self.embedding(x)
        elif self.enter == "time first":
            x = x.transpose(0, 1)
        elif self.enter == "channels":
            x = x.transpose(1, 2)
        elif other is not None:
            side = self.side(other)
            x = x + (side if side.dim() == 3 else side.unsqueeze(1))
        y = self.body(x)
        if self.leave == "last":
            return self.head(y[:, -1])
        if self.leave == "mean":
            return self.head(y.mean(dim=1))
        if self.leave == "pair":
            return self.head(y).log_softmax(-1), y
        if self.leave == "named":
            return {"score": self.head(y).squeeze(-1), "hidden": y.transpose(1, 2)}
        return self.head(y)
