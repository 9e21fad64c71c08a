"""Every kind of module of the zoo, its inputs, and what the export is to do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from tests.exporters.zoo import loops, recurrent, refused, windows


@dataclass(frozen=True)
class Kind:
    """One kind of module. ``told`` is what its refusal says; empty for one that is exported."""

    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[str, ...]
    told: str = ""
    states: Mapping[str, int] = field(default_factory=dict)
    scale: float = 1.0
    steps: int = 1000

    def module(self) -> nn.Module:
        """The module with random weights, the same every time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            return self.make().eval()


BT5, TB5 = "x:float32:batch,time,5", "x:float32:time,batch,5"

EXPORTED = (
    Kind("LSTM and GRU in a row, GELU, norms", recurrent.Stacked, (BT5,)),
    Kind("layers in parallel, gated, residual", recurrent.Parallel, ("x:float32:time,batch,6",)),
    Kind("dense connections", recurrent.Dense, ("x:float32:batch,time,4",)),
    Kind("LSTM with proj_size", recurrent.Projected, (TB5,)),
    Kind("state as argument and result", recurrent.Given, (BT5,)),
    Kind("learnt first states", recurrent.Learned, ("x:float32:batch,time,4",)),
    Kind("Sequential that takes [0]", recurrent.wrapped, (TB5,)),
    Kind(
        "one layer called twice, two inputs",
        recurrent.Shared,
        ("left:float32:batch,time,3", "right:float32:batch,time,3"),
    ),
    Kind("tokens, last h and c", recurrent.Classifier, ("tokens:int64:batch,time",)),
    Kind("weight norm, batch norm, RMS norm", recurrent.Normed, (BT5,)),
    Kind("static side input", recurrent.Speaker, (BT5, "speaker:float32:batch,4")),
    Kind("views, chunk, where, clamp", recurrent.Autoencoder, ("x:float32:time,batch,12",)),
    Kind("einsum and attention over features", recurrent.Bilinear, ("x:float32:batch,time,8",)),
    Kind("GRUCell loop, stack", loops.GRUCellLoop, (BT5,)),
    Kind("LSTMCells, output made beforehand", loops.LSTMCellStack, ("x:float32:time,batch,4",)),
    Kind("RNNCell, unbind, cat", loops.RNNCellCat, ("x:float32:batch,time,3",)),
    Kind("output feedback, learnt start", loops.Feedback, ("x:float32:batch,time,3",)),
    Kind("cell of one's own", loops.CustomCell, ("x:float32:time,batch,4",)),
    Kind("leaky integrators, NamedTuple", loops.Leaky, ("x:float32:batch,time,3",)),
    Kind("exponential mean before a GRU", loops.Smoothed, ("x:float32:batch,time,4",)),
    Kind("matrix state, outer products", loops.FastWeights, ("x:float32:batch,time,6",)),
    Kind("state of two steps ago", loops.Delayed, ("x:float32:batch,time,3",)),
    Kind("loop, last state only", loops.LastOnly, ("x:float32:batch,time,4",)),
    Kind("step(x, state)", loops.StepMethod, (BT5,)),
    Kind("forward of one step, --state", loops.OneStep, ("x:float32:batch,5",), states={"h": 1}),
    Kind("TCN, trimmed", windows.TCN, ("x:float32:batch,4,time",)),
    Kind("depthwise Conv1d behind F.pad", windows.Padded, ("x:float32:batch,time,6",)),
    Kind("WaveNet", windows.WaveNet, ("x:float32:batch,1,time",)),
    Kind("Conv2d over time and bands", windows.Spectrum, ("x:float32:batch,time,10",)),
    Kind("cumulative normalisation", windows.RunningNorm, (BT5,)),
    Kind("differences and shifts", windows.Differences, ("x:float32:batch,time,3",)),
    Kind("windows by unfold, causal pool", windows.Windows, ("x:float32:batch,time,3",)),
    Kind("mean and max over time: so far", windows.MeanPooled, (BT5,)),
    Kind("the step's number as input", windows.Positions, ("x:float32:time,batch,4",)),
)

REFUSED = (
    Kind("bidirectional", refused.Bidirectional, (BT5,), r"'encoder.rnn' \(LSTM\) is bidirectional"),
    Kind(
        "attention over the past",
        refused.Attention,
        (BT5,),
        r"'look' \(MultiheadAttention\).*attention over the whole past",
    ),
    Kind(
        "attention with a causal mask",
        refused.CausalAttention,
        (BT5,),
        r"\(CausalAttention\).*attention over the whole past",
    ),
    Kind("convolution that looks ahead", refused.LookAhead, (BT5,), r"'front.0' \(Conv1d\) looks 1 steps? ahead"),
    Kind(
        "padding='same', residual",
        refused.SameConv,
        ("x:float32:batch,5,time",),
        r"'smooth' \(Conv1d\) looks 2 steps ahead",
    ),
    Kind("stride over time", refused.Strided, ("x:float32:batch,5,time",), r"'down' \(Conv1d\) has stride 2"),
    Kind("time reversed", refused.Reversed, (TB5,), r"\(Reversed\) reverses time"),
    Kind("normalised over the sequence", refused.GlobalNorm, (BT5,), r"\(GlobalNorm\)"),
    Kind("batch statistics", refused.BatchStatistics, (BT5,), r"'norm' \(BatchNorm1d\).*track_running_stats"),
    Kind(
        "GroupNorm over time",
        refused.TimeNorm,
        ("x:float32:batch,5,time",),
        r"'norm' \(GroupNorm\) normalises over time",
    ),
    Kind("state kept between calls", refused.Remembers, (TB5,), r"Remembers gives another result when it runs again"),
    Kind("decision on a value", refused.Deciding, (TB5,), r"\(Deciding\)"),
    Kind("steps that differ", refused.EverySecond, (BT5,), r"step.*def step\(self, x, state\)"),
    Kind("table of positions", refused.Table, (BT5,), r"\(Table\).*table of positions"),
)
