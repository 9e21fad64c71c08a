"""The LSTM: a cell state behind input, forget and output gates.

S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), with the
forget gate of F. Gers et al., "Learning to forget" (2000).
"""

from __future__ import annotations

import torch
from torch import nn


def lstm(inputs: int, hidden: int) -> nn.LSTM:
    """One LSTM layer, ``[time, batch, inputs] -> [time, batch, hidden]``; state kinds ``h`` and ``c``.

    The forget gate's bias starts at 1, so that the cell remembers before it has learnt to
    (R. Jozefowicz et al., "An empirical exploration of recurrent network architectures", 2015).
    """
    layer = nn.LSTM(inputs, hidden)
    with torch.no_grad():
        layer.get_parameter("bias_ih_l0")[hidden : 2 * hidden] = 1.0
        layer.get_parameter("bias_hh_l0")[hidden : 2 * hidden] = 0.0
    return layer
