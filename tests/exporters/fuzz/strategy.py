"""Modules drawn by Hypothesis: a tree of blocks, an input and an output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import nn

from tests.exporters.fuzz.blocks import ACTIVATIONS, SHAPES, Around, CellLoop, Conv, Dense, Layer, Net, Shape

WIDTH = st.integers(2, 9)
INPUTS = {
    "batch first": ("x:float32:batch,time,{width}",),
    "time first": ("x:float32:time,batch,{width}",),
    "channels": ("x:float32:batch,{width},time",),
    "tokens": ("x:int64:batch,time",),
    "two": ("x:float32:batch,time,{width}", "other:float32:batch,time,4"),
    "static": ("x:float32:batch,time,{width}", "other:float32:batch,4"),
}


@dataclass(frozen=True)
class Drawn:
    """A module and the inputs that it takes."""

    module: nn.Module
    inputs: tuple[str, ...]
    steps: int


@st.composite
def blocks(draw: st.DrawFn, width: int, out: int, depth: int) -> nn.Module:
    """A block from ``width`` to ``out`` features."""
    kinds = ["dense", "layer", "cell", "conv", "shape"]
    kind = draw(st.sampled_from(kinds + ["around"] * 4 if depth > 0 else kinds))
    if kind == "dense":
        return Dense(
            width, out, draw(st.sampled_from(sorted(ACTIVATIONS))), draw(st.sampled_from(["layer", "rms", "batch", ""]))
        )
    if kind == "layer":
        return Layer(
            width,
            out,
            draw(st.sampled_from(["LSTM", "GRU", "RNN", "RELU", "PROJ"])),
            draw(st.integers(1, 2)),
            draw(st.booleans()),
            draw(st.sampled_from(["none", "zeros", "learnt"])),
        )
    if kind == "cell":
        return CellLoop(
            width,
            out,
            draw(st.sampled_from(["GRUCell", "LSTMCell", "RNNCell", "own"])),
            draw(st.sampled_from(["stack", "cat", "made", "first"])),
            draw(st.sampled_from(["zeros", "learnt"])),
            draw(st.booleans()),
        )
    if kind == "conv":
        return Conv(
            width, out, draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.booleans()), draw(st.booleans())
        )
    if kind == "shape":
        return Shape(width, out, draw(st.sampled_from(SHAPES)))
    how = draw(st.sampled_from(["row", "row", "beside", "gated", "sum"]))
    middle = draw(WIDTH) if how == "row" else out
    first = draw(blocks(width, middle, depth - 1))
    second = draw(blocks(middle if how == "row" else width, out, depth - 1))
    return Around(how, first, second, nn.Linear(2 * out, out))


@st.composite
def modules(draw: st.DrawFn) -> Drawn:
    """A module of up to eight blocks with weights from a drawn seed."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    width, out = draw(WIDTH), draw(WIDTH)
    enter = draw(st.sampled_from(sorted(INPUTS)))
    leave = draw(st.sampled_from(["sequence", "sequence", "last", "mean", "pair", "named"]))
    body = draw(blocks(width, out, 3))
    inputs = tuple(text.format(width=width) for text in INPUTS[enter])
    return Drawn(Net(body, enter, leave, width, out).eval(), inputs, draw(st.integers(20, 120)))
