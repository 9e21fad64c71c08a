"""The Jordan network: the layer's own output of the step before joins the input.

M. I. Jordan, "Attractor dynamics and parallelism in a connectionist sequential machine", CogSci
(1986): the state units hold the output units, not the hidden ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from edge_rnn.models.activation import ACTIVATIONS, Activation


class JordanLayer(nn.Module):
    """``h_t = f(W x_t + b + U y_{t-1})``, ``y_t = V h_t + c``; the state is ``y``.

    ``weight_ih`` (W): ``float32[hidden, inputs]``; ``weight_yh`` (U): ``float32[hidden, outputs]``;
    ``bias_h`` (b): ``float32[hidden]``; ``weight_hy`` (V): ``float32[outputs, hidden]``; ``bias_y``
    (c): ``float32[outputs]``. f is ``activation``: tanh, relu or sigmoid.
    """

    def __init__(
        self, input_size: int, hidden_size: int, output_size: int | None = None, *, activation: Activation = "tanh"
    ) -> None:
        """``output_size`` is ``hidden_size`` unless given."""
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = hidden_size if output_size is None else output_size
        self.activation: Activation = activation
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_yh = nn.Parameter(torch.empty(hidden_size, self.output_size))
        self.bias_h = nn.Parameter(torch.empty(hidden_size))
        self.weight_hy = nn.Parameter(torch.empty(self.output_size, hidden_size))
        self.bias_y = nn.Parameter(torch.empty(self.output_size))
        bound = 1 / math.sqrt(hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``x: float32[time, batch, inputs]``, ``y: float32[1, batch, outputs]`` (zeros if left out).

        Returns every step's output, ``float32[time, batch, outputs]``, and the last as the state.
        """
        function = ACTIVATIONS[self.activation]
        last = x.new_zeros(x.shape[1], self.output_size) if y is None else y[0]
        driven = linear(x, self.weight_ih, self.bias_h)
        steps = []
        for step in driven.unbind(0):
            last = linear(function(step + linear(last, self.weight_yh)), self.weight_hy, self.bias_y)
            steps.append(last)
        return torch.stack(steps), last[None]

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, {self.output_size}, activation={self.activation!r}"


def jordan(inputs: int, hidden: int, activation: Activation) -> JordanLayer:
    """One Jordan layer, ``[time, batch, inputs] -> [time, batch, hidden]``; state kind ``y``."""
    return JordanLayer(inputs, hidden, activation=activation)
