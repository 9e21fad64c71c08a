"""Models by name: ``build("lstm", inputs=6, outputs=4, hidden=32, task="classification")``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from torch import nn

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import GenerationSpec
from edge_rnn.models.activation import Activation
from edge_rnn.models.bidirectional import Bidirectional
from edge_rnn.models.classification import classification_head
from edge_rnn.models.elman import elman
from edge_rnn.models.encoder_decoder import EncoderDecoder
from edge_rnn.models.gru import gru
from edge_rnn.models.jordan import jordan
from edge_rnn.models.log_mel import LogMel, LogMelArguments
from edge_rnn.models.lstm import lstm
from edge_rnn.models.regression import regression_head
from edge_rnn.models.scaler import Scaler
from edge_rnn.models.sequence import SequenceModel, Task
from edge_rnn.models.watcher import Watcher

Count = Annotated[int, msgspec.Meta(ge=1)]
Probability = Annotated[float, msgspec.Meta(ge=0, lt=1)]
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

    ``hidden`` is the width of every layer, or one width a layer, e.g. ``(128, 64)``. ``dropout`` is
    the probability between layers (with a vocabulary also before the first and behind the last),
    ``inner_dropout`` that of the recurrent connection; ``activation`` is for elman and jordan.
    ``features`` and ``labels`` name the inputs and the outputs. With a ``vocabulary`` the one input
    is a token, read by an embedding of ``embedding`` numbers; a ``prompt_vocabulary`` makes an
    `EncoderDecoder`, and ``watch`` a `Watcher` of its own inputs. With ``log_mel`` the inputs are
    samples of sound.
    """

    inputs: Count
    outputs: Count
    hidden: Count | tuple[Count, ...] = 32
    layers: Count = 1
    dropout: Probability = 0.0
    inner_dropout: Probability = 0.0
    activation: Activation = "tanh"
    bidirectional: bool = False
    task: Task = "regression"
    features: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None
    vocabulary: tuple[str, ...] | None = None
    prompt_vocabulary: tuple[str, ...] | None = None
    embedding: Count = 16
    generation: GenerationSpec | None = None
    watch: bool = False
    log_mel: LogMelArguments | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each layer."""
        return self.hidden if isinstance(self.hidden, tuple) else (self.hidden,) * self.layers


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
    _check(name, given)
    output_scaler: Scaler | None = None
    width = given.widths[-1] * (2 if given.bidirectional else 1)
    read: dict[str, Any] = {"scaler": Scaler(given.inputs)}
    width_in = given.inputs
    if given.log_mel is not None:
        width_in = given.log_mel.bands
        read = {"log_mel": LogMel(given.log_mel), "scaler": Scaler(width_in)}
    if given.vocabulary is not None:
        width_in = given.embedding
        read = {"embedding": nn.Embedding(len(given.vocabulary), given.embedding), "vocabulary": given.vocabulary}
    layers = _layers(name, given, width_in)
    if given.task == "regression":
        head, output_scaler = regression_head(width, given.outputs)
    else:
        head = classification_head(width, given.outputs)
    parts = {
        **read,
        "layers": layers,
        "head": head,
        "output_scaler": output_scaler,
        "dropout": given.dropout,
        "inner_dropout": given.inner_dropout,
        "task": given.task,
        "features": given.features,
        "labels": given.labels,
        "generation": given.generation,
        "name": name,
        "arguments": msgspec.to_builtins(given),
    }
    if given.watch:
        return Watcher(**parts)
    if given.prompt_vocabulary is None:
        return SequenceModel(**parts)
    return EncoderDecoder(
        prompt_embedding=nn.Embedding(len(given.prompt_vocabulary), given.embedding),
        prompt_layers=_layers(name, given, given.embedding),
        prompt_vocabulary=given.prompt_vocabulary,
        **parts,
    )


def _layers(name: str, given: ModelArguments, inputs: int) -> list[nn.Module]:
    """One layer of each width; a bidirectional one has twice its width for the next."""
    layers: list[nn.Module] = []
    for hidden in given.widths:
        layer = MODELS[name](inputs, hidden, given.activation)
        if given.bidirectional:
            layer = Bidirectional(layer, MODELS[name](inputs, hidden, given.activation), hidden)
        layers.append(layer)
        inputs = hidden * (2 if given.bidirectional else 1)
    return layers


def _check(name: str, given: ModelArguments) -> None:
    """Raise `UsageError` for arguments that do not go together."""
    if name in GATED and given.activation != "tanh":
        raise UsageError(f"model {name!r} has fixed activations, got {given.activation!r}; leave activation out")
    if isinstance(given.hidden, tuple) and given.layers not in (1, len(given.hidden)):
        raise UsageError(
            f"model {name!r}: {len(given.hidden)} widths in hidden, but layers is {given.layers}; leave layers out"
        )
    for what, names, width in (("features", given.features, given.inputs), ("labels", given.labels, given.outputs)):
        if names is not None and len(names) != width:
            raise UsageError(f"model {name!r}: {len(names)} {what} named, expected {width}; name every one or none")
    if given.vocabulary is not None and given.inputs != 1:
        raise UsageError(f"model {name!r}: inputs is {given.inputs}, but a vocabulary is one input; give inputs=1")
    if given.prompt_vocabulary is not None and (given.vocabulary is None or given.bidirectional):
        raise UsageError(
            f"model {name!r}: a prompt_vocabulary needs a vocabulary and layers of one direction; give inputs=1,"
            " vocabulary and no bidirectional"
        )
    if given.log_mel is not None and (given.log_mel.window != given.inputs or given.vocabulary is not None):
        raise UsageError(f"model {name!r}: log_mel takes {given.log_mel.window} samples; give that many inputs")
    if given.watch and (given.task != "regression" or given.outputs != given.inputs or given.bidirectional):
        raise UsageError(
            f"model {name!r}: watch forecasts its own inputs; give task 'regression', outputs={given.inputs} and no"
            " bidirectional"
        )
