"""The model that every recipe trains: scaler, recurrent layers, head, output scaler.

An exporter walks exactly this: ``scaler`` (`Scaler`), ``layers`` (a `nn.ModuleList` of one-layer
`nn.LSTM`, `nn.GRU`, `nn.RNN`, `ElmanSigmoid` or `JordanLayer`), ``dropout`` (nothing in inference),
``head`` (`nn.Linear`), ``output_scaler`` (`Scaler` or ``None``).
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from edge_rnn.models.dropout import LockedDropout
from edge_rnn.models.jordan import JordanLayer
from edge_rnn.models.scaler import Scaler

Task = Literal["regression", "classification"]
State = dict[str, Tensor]
"""Named state: ``rnn.<layer>.<kind>`` to ``float32[1, batch, width]``; kinds are h, c (LSTM), y (Jordan)."""


class SequenceModel(nn.Module):
    """``forward(x, state) -> (y, new state)``, an output for every step so that it streams.

    ``features`` names the inputs, ``labels`` the classes (or the outputs of a regression), where
    they have names. ``name`` and ``arguments`` are what `build` was called with.
    """

    def __init__(
        self,
        *,
        scaler: Scaler,
        layers: list[nn.Module],
        head: nn.Linear,
        output_scaler: Scaler | None = None,
        dropout: float = 0.0,
        task: Task = "regression",
        features: tuple[str, ...] | None = None,
        labels: tuple[str, ...] | None = None,
        name: str = "",
        arguments: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.scaler = scaler
        self.layers = nn.ModuleList(layers)
        self.dropout = LockedDropout(dropout)
        self.head = head
        self.output_scaler = output_scaler
        self.task: Task = task
        self.features = features
        self.labels = labels
        self.name = name
        self.arguments: dict[str, Any] = dict(arguments or {})

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the states, layer by layer; an LSTM's ``h`` stands before its ``c``."""
        return tuple(f"rnn.{i}.{kind}" for i, layer in enumerate(self.layers) for kind in state_kinds(layer))

    def initial_state(self, batch: int) -> State:
        """The state of ``batch`` streams that have seen nothing: zeros, ``float32[1, batch, width]`` each."""
        like = self.head.weight
        return {
            f"rnn.{i}.{kind}": like.new_zeros(1, batch, state_width(layer))
            for i, layer in enumerate(self.layers)
            for kind in state_kinds(layer)
        }

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run ``x: float32[time, batch, feature]`` from ``state`` (a fresh one if left out).

        Returns ``y: float32[time, batch, output]`` (values or logits) and the state after the last
        step. ``state`` itself is not changed. Raises `KeyError` when ``state`` lacks a name.
        """
        state = self.initial_state(x.shape[1]) if state is None else state
        new: State = {}
        sequence: Tensor = self.scaler(x)
        for i, layer in enumerate(self.layers):
            if i > 0:
                sequence = self.dropout(sequence)
            names = [f"rnn.{i}.{kind}" for kind in state_kinds(layer)]
            if isinstance(layer, nn.LSTM):
                sequence, (new[names[0]], new[names[1]]) = layer(sequence, (state[names[0]], state[names[1]]))
            else:
                sequence, new[names[0]] = layer(sequence, state[names[0]])
        y: Tensor = self.head(sequence)
        return (y if self.output_scaler is None else self.output_scaler(y)), new


def state_kinds(layer: nn.Module) -> tuple[str, ...]:
    """Which states a layer has, in the order its forward takes them."""
    if isinstance(layer, nn.LSTM):
        return ("h", "c")
    return ("y",) if isinstance(layer, JordanLayer) else ("h",)


def state_width(layer: nn.Module) -> int:
    """Numbers in each state of one stream."""
    width = layer.output_size if isinstance(layer, JordanLayer) else layer.hidden_size
    assert isinstance(width, int)
    return width


def detach(state: State) -> State:
    """The same values, cut from the graph that computed them: gradients stop here."""
    return {name: value.detach() for name, value in state.items()}
