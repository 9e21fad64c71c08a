"""How a recurrent layer is run: its states by kind, dropout inside it, and sequences of unequal length."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from edge_rnn.models.bidirectional import Bidirectional
from edge_rnn.models.dropout import with_inner_dropout
from edge_rnn.models.jordan import JordanLayer

LayerState = tuple[Tensor, ...]
"""The states of one layer in the order of `state_kinds`, each ``float32[1, batch, width]``."""


def state_kinds(layer: nn.Module) -> tuple[str, ...]:
    """Which states a layer carries from call to call, in the order its forward takes them."""
    if isinstance(layer, Bidirectional):
        return ()
    if isinstance(layer, nn.LSTM):
        return ("h", "c")
    return ("y",) if isinstance(layer, JordanLayer) else ("h",)


def state_width(layer: nn.Module) -> int:
    """Numbers in each state of one stream, which is also the width of the layer's output."""
    if isinstance(layer, Bidirectional):
        return layer.output_size
    width = layer.output_size if isinstance(layer, JordanLayer) else layer.hidden_size
    assert isinstance(width, int)
    return width


def run_layer(
    layer: nn.Module, x: Tensor, state: LayerState, *, lengths: Tensor | None = None, inner_dropout: float = 0.0
) -> tuple[Tensor, LayerState]:
    """Run one layer over ``x: float32[time, batch, feature]`` from ``state``.

    With ``lengths: int64[batch]`` the state returned is that after each sequence's own last step,
    and later outputs mean nothing. ``inner_dropout`` drops units of the state on their way back
    into the layer: one mask a call, the same for every step and sequence, which is a mask on the
    columns of the recurrent weights (Gal and Ghahramani, 2016; what an LSTM's cell or a GRU's
    update gate carries on is no connection and stays).
    """
    if isinstance(layer, Bidirectional):
        return layer(x, lengths, inner_dropout), ()
    given: Tensor | PackedSequence = x
    if lengths is not None and isinstance(layer, nn.RNNBase):
        given = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
    y, new = with_inner_dropout(layer, inner_dropout)(given, state[0] if len(state) == 1 else state)
    if isinstance(y, PackedSequence):
        y = pad_packed_sequence(y, total_length=x.shape[0])[0]
    elif lengths is not None:  # a layer of this house: its state is its output
        new = y[lengths - 1, torch.arange(y.shape[1])][None]
    return y, (new,) if isinstance(new, Tensor) else tuple(new)
