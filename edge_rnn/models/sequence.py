"""The model that every recipe trains: what reads the input, recurrent layers, head, output scaler.

An exporter walks exactly this: ``log_mel`` (`LogMel`, for sound), ``scaler`` (`Scaler`) or, for tokens, ``embedding`` (`nn.Embedding`),
``layers`` (a `nn.ModuleList` of one-layer `nn.LSTM`, `nn.GRU`, `nn.RNN`, `ElmanSigmoid`,
`JordanLayer` or `Bidirectional`), ``dropout`` (nothing in inference), ``head`` (`nn.Linear`),
``output_scaler`` (`Scaler` or ``None``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import GenerationSpec
from edge_rnn.models.bidirectional import Bidirectional
from edge_rnn.models.dropout import LockedDropout
from edge_rnn.models.layers import run_layer, state_kinds, state_width
from edge_rnn.models.log_mel import LogMel
from edge_rnn.models.scaler import Scaler

Task = Literal["regression", "classification"]
State = dict[str, Tensor]
"""Named state: ``rnn.<layer>.<kind>`` to ``float32[1, batch, width]``; kinds are h, c (LSTM), y (Jordan)."""


class SequenceModel(nn.Module):
    """``forward(x, state) -> (y, new state)``, an output for every step so that it streams.

    ``features`` names the inputs, ``labels`` the classes (or the outputs of a regression), where
    they have names; ``vocabulary`` the tokens of a model that takes such. ``generation`` says how
    a model that predicts tokens makes text of them. ``name`` and ``arguments`` are what `build`
    was called with.
    """

    def __init__(
        self,
        *,
        log_mel: LogMel | None = None,
        scaler: Scaler | None = None,
        embedding: nn.Embedding | None = None,
        layers: list[nn.Module],
        head: nn.Linear,
        output_scaler: Scaler | None = None,
        dropout: float = 0.0,
        inner_dropout: float = 0.0,
        task: Task = "regression",
        features: tuple[str, ...] | None = None,
        labels: tuple[str, ...] | None = None,
        vocabulary: tuple[str, ...] | None = None,
        generation: GenerationSpec | None = None,
        name: str = "",
        arguments: dict[str, Any] | None = None,
    ) -> None:
        """Give a ``scaler`` for numbers, behind a ``log_mel`` for sound, or an ``embedding`` for tokens."""
        super().__init__()
        if (scaler is None) == (embedding is None):
            raise ValueError("give either a scaler or an embedding")
        self.log_mel = log_mel
        self.scaler = scaler
        self.embedding = embedding
        self.layers = nn.ModuleList(layers)
        self.dropout = LockedDropout(dropout)
        self.inner_dropout = inner_dropout
        self.head = head
        self.output_scaler = output_scaler
        self.task: Task = task
        self.features = features
        self.labels = labels
        self.vocabulary = vocabulary
        self.generation = generation
        self.name = name
        self.arguments: dict[str, Any] = dict(arguments or {})

    @property
    def input_width(self) -> int:
        """Numbers in each step's input; tokens are one."""
        if self.log_mel is not None:
            return self.log_mel.spectrum.shape[0]
        return 1 if self.scaler is None else self.scaler.mean.shape[0]

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

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Run ``x: float32[time, batch, feature]``, or tokens ``int64[time, batch]``, from ``state`` (fresh if left out).

        Returns ``y: float32[time, batch, output]`` (values or logits) and the state after the last
        step; with ``lengths: int64[batch]`` after each sequence's own last step, and what ``y``
        holds beyond means nothing. ``state`` itself is not changed. Raises `KeyError` when
        ``state`` lacks a name and `UsageError` when a bidirectional model is given one.
        """
        if state is not None and any(isinstance(layer, Bidirectional) for layer in self.layers):
            raise UsageError(
                "a bidirectional model takes whole sequences and carries no state; set chunk to their length,"
                " or train it with bidirectional=false"
            )
        state = self.initial_state(x.shape[1]) if state is None else state
        sequence, new = self._run_layers(self.layers, self._read(x), state, lengths)
        if self.embedding is not None:
            sequence = self.dropout(sequence)
        y: Tensor = self.head(sequence)
        return (y if self.output_scaler is None else self.output_scaler(y)), new

    def _read(self, x: Tensor) -> Tensor:
        """The input as the first layer takes it."""
        if self.embedding is not None:
            return torch.as_tensor(self.dropout(self.embedding(x)))
        assert self.scaler is not None
        return torch.as_tensor(self.scaler(self.heard(x)))

    def heard(self, x: Tensor) -> Tensor:
        """What the scaler takes of the input: the input itself, or its log-mel energies."""
        return x if self.log_mel is None else torch.as_tensor(self.log_mel(x))

    def _run_layers(
        self, layers: Iterable[nn.Module], sequence: Tensor, state: State, lengths: Tensor | None
    ) -> tuple[Tensor, State]:
        """One layer after the other, with dropout between them and inside them while training."""
        new: State = {}
        inner = self.inner_dropout if self.training else 0.0
        for i, layer in enumerate(layers):
            if i > 0:
                sequence = self.dropout(sequence)
            names = [f"rnn.{i}.{kind}" for kind in state_kinds(layer)]
            given = tuple(state[name] for name in names)
            sequence, last = run_layer(layer, sequence, given, lengths=lengths, inner_dropout=inner)
            new.update(zip(names, last, strict=True))
        return sequence, new


def detach(state: State) -> State:
    """The same values, cut from the graph that computed them: gradients stop here."""
    return {name: value.detach() for name, value in state.items()}
