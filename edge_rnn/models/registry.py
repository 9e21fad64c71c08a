"""Models by name: ``build("lstm", inputs=6, outputs=4, hidden=32, task="classification")``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from torch import nn

from edge_rnn.contract.errors import UsageError
from edge_rnn.models.activation import Activation
from edge_rnn.models.classification import classification_head
from edge_rnn.models.elman import elman
from edge_rnn.models.gru import gru
from edge_rnn.models.jordan import jordan
from edge_rnn.models.lstm import lstm
from edge_rnn.models.regression import regression_head
from edge_rnn.models.scaler import Scaler
from edge_rnn.models.sequence import SequenceModel, Task

Count = Annotated[int, msgspec.Meta(ge=1)]
LayerBuilder = Callable[[int, int, Activation], nn.Module]
"""``(inputs, hidden, activation)`` to one recurrent layer whose output is ``hidden`` wide."""

MODELS: dict[str, LayerBuilder] = {
    "elman": elman,
    "jordan": jordan,
    "lstm": lambda inputs, hidden, _: lstm(inputs, hidden),
    "gru": lambda inputs, hidden, _: gru(inputs, hidden),
}
"""Name to what builds one layer of that cell."""

GATED = ("lstm", "gru")
"""Cells whose activations are fixed: they take no ``activation``."""


class ModelArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `build` takes beside the name.

    ``dropout`` is the probability between layers; ``activation`` is for elman and jordan;
    ``features`` and ``labels`` name the inputs and the outputs.
    """

    inputs: Count
    outputs: Count
    hidden: Count = 32
    layers: Count = 1
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    activation: Activation = "tanh"
    task: Task = "regression"
    features: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None


def build(name: str, **arguments: Any) -> SequenceModel:
    """A fresh model of the cell ``name`` (one of `MODELS`) with the arguments of `ModelArguments`.

    Weights come from torch's global generator. Raises `UsageError` naming the argument that is
    unknown, missing or of the wrong kind, and what is valid.
    """
    if name not in MODELS:
        raise UsageError(f"there is no model {name!r}; give one of {', '.join(sorted(MODELS))}")
    try:
        given = msgspec.convert(arguments, ModelArguments)
    except msgspec.ValidationError as error:
        valid = ", ".join(ModelArguments.__struct_fields__)
        raise UsageError(f"model {name!r}: {error}; its arguments are {valid}") from error
    if name in GATED and given.activation != "tanh":
        raise UsageError(f"model {name!r} has fixed activations, got {given.activation!r}; leave activation out")
    for what, names, width in (("features", given.features, given.inputs), ("labels", given.labels, given.outputs)):
        if names is not None and len(names) != width:
            raise UsageError(f"model {name!r}: {len(names)} {what} named, expected {width}; name every one or none")
    layers = [
        MODELS[name](given.inputs if i == 0 else given.hidden, given.hidden, given.activation)
        for i in range(given.layers)
    ]
    output_scaler: Scaler | None = None
    if given.task == "regression":
        head, output_scaler = regression_head(given.hidden, given.outputs)
    else:
        head = classification_head(given.hidden, given.outputs)
    return SequenceModel(
        scaler=Scaler(given.inputs),
        layers=layers,
        head=head,
        output_scaler=output_scaler,
        dropout=given.dropout,
        task=given.task,
        features=given.features,
        labels=given.labels,
        name=name,
        arguments=msgspec.to_builtins(given),
    )
