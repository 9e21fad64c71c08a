"""Two layers over one sequence, one of them from its end: for training and scoring offline only.

M. Schuster, K. Paliwal, "Bidirectional recurrent neural networks" (1997). A stream has no end to
begin from, so the export refuses it and names what to do instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_rnn.models.dropout import with_inner_dropout


class Bidirectional(nn.Module):
    """``y_t`` is the output of ``ahead`` after steps 1..t beside that of ``back`` after steps T..t.

    Both are layers of this house or torch's, of one layer each. It takes whole sequences and
    carries no state.
    """

    def __init__(self, ahead: nn.Module, back: nn.Module, hidden_size: int) -> None:
        """``hidden_size`` is the width of either layer's output; together they give twice that."""
        super().__init__()
        self.ahead = ahead
        self.back = back
        self.hidden_size = hidden_size
        self.output_size = 2 * hidden_size

    def forward(self, x: Tensor, lengths: Tensor | None = None, inner_dropout: float = 0.0) -> Tensor:
        """``x: float32[time, batch, feature]`` to ``float32[time, batch, output_size]``.

        With ``lengths: int64[batch]`` each sequence is turned round within its own length.
        """
        there = with_inner_dropout(self.ahead, inner_dropout)(x)[0]
        back = with_inner_dropout(self.back, inner_dropout)(turned(x, lengths))[0]
        return torch.cat([there, turned(back, lengths)], dim=-1)


def turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Each sequence of ``x: float32[time, batch, feature]`` turned round; what lies beyond its length stays."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0])[:, None]
    order = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x.gather(0, order[..., None].expand_as(x))
