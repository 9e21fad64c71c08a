"""The GRU: reset and update gates, one state.

K. Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014), in the form
that torch and cuDNN compute: the reset gate acts after the recurrent product.
"""

from __future__ import annotations

from torch import nn


def gru(inputs: int, hidden: int) -> nn.GRU:
    """One GRU layer, ``[time, batch, inputs] -> [time, batch, hidden]``; state kind ``h``."""
    return nn.GRU(inputs, hidden)
