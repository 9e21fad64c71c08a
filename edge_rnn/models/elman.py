"""The Elman network: the hidden state of the step before joins the input.

J. L. Elman, "Finding structure in time", Cognitive Science 14 (1990): the context units hold a
copy of the hidden units. ``h_t = f(W x_t + b_ih + R h_{t-1} + b_hh)`` with f tanh, ReLU or the
logistic function. Torch brings the first two; the third, Elman's own, is `ElmanSigmoid`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from edge_rnn.models.activation import Activation


class ElmanSigmoid(nn.Module):
    """``h_t = sigmoid(W x_t + b_ih + R h_{t-1} + b_hh)``, called and named like a one-layer `nn.RNN`.

    ``weight_ih: float32[hidden, inputs]``, ``weight_hh: float32[hidden, hidden]``, ``bias_ih`` and
    ``bias_hh: float32[hidden]``, all drawn uniformly within ``1/sqrt(hidden)`` as torch does.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(hidden_size))
        self.bias_hh = nn.Parameter(torch.empty(hidden_size))
        bound = 1 / math.sqrt(hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``x: float32[time, batch, inputs]``, ``h: float32[1, batch, hidden]`` (zeros if left out).

        Returns ``y: float32[time, batch, hidden]`` and the last ``h``.
        """
        hidden = x.new_zeros(x.shape[1], self.hidden_size) if h is None else h[0]
        driven = linear(x, self.weight_ih, self.bias_ih)
        steps = []
        for step in driven.unbind(0):
            hidden = torch.sigmoid(step + linear(hidden, self.weight_hh, self.bias_hh))
            steps.append(hidden)
        return torch.stack(steps), hidden[None]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


def elman(inputs: int, hidden: int, activation: Activation) -> nn.RNN | ElmanSigmoid:
    """One Elman layer, ``[time, batch, inputs] -> [time, batch, hidden]``; state kind ``h``."""
    if activation == "sigmoid":
        return ElmanSigmoid(inputs, hidden)
    return nn.RNN(inputs, hidden, nonlinearity=activation)
