"""The `SequenceModel` that recipes train, and the two halves of an `EncoderDecoder`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.models import Bidirectional, EncoderDecoder, LogMel, SequenceModel
from exporters.emit.registry import Emission, Value, describe, emit, emits
from exporters.emit.rows import RowEmitter


@emits(SequenceModel, EncoderDecoder)
def emit_sequence_model(emission: Emission, module: SequenceModel, path: str, value: Value) -> Value:
    """Scaler or embedding, layers, head, output scaler; states are named as the model names them, ``rnn.N.h``.

    A token outside the vocabulary gives NaN for its own step, so that its stream keeps its last good state.
    """
    rows = RowEmitter(emission.graph, lead=2)
    prefix = f"{path}." if path else ""
    if module.log_mel is not None:
        value = emit(emission, module.log_mel, f"{prefix}log_mel", value)
    if module.embedding is not None:
        value = _emit_embedding(emission, module.embedding, f"{prefix}embedding", value, rows)
    elif module.scaler is not None:
        value = emit(emission, module.scaler, f"{prefix}scaler", value)
    for index, layer in enumerate(module.layers):
        value = emit(emission, layer, f"{prefix}rnn.{index}", value)
    value = emit(emission, module.head, f"{prefix}head", value)
    if module.output_scaler is not None:
        value = emit(emission, module.output_scaler, f"{prefix}output_scaler", value)
    return replace(value, name=rows.spoil(value.name, 1, f"{prefix}head"))


def emit_prompt(emission: Emission, module: EncoderDecoder, value: Value) -> None:
    """The encoder: it gives only its states, which have the decoder's names.

    It has no output to spoil: tokens of a prompt are checked before, where text becomes tokens.
    """
    rows = RowEmitter(emission.graph, lead=2)
    value = _emit_embedding(emission, module.prompt_embedding, "prompt_embedding", value, rows)
    for index, layer in enumerate(module.prompt_layers):
        value = emit(emission, layer, f"rnn.{index}", value)


def _emit_embedding(emission: Emission, module: nn.Embedding, path: str, value: Value, rows: RowEmitter) -> Value:
    """Rows of the table by number; the value gains a feature axis. What is not in the table is kept in ``rows.checks``."""
    table = emission.weight(module.weight, f"{path}.weight")
    name = rows.look_up(table, module.num_embeddings, value.name, axes=0, wraps=False, hint=path)
    shape = (*value.shape, module.embedding_dim)
    return replace(value, name=name, axes=(*value.axes, "feature"), shape=shape, dtype="float32")


@emits(LogMel)
def emit_log_mel(emission: Emission, module: LogMel, path: str, value: Value) -> Value:
    """Two products, a square and a logarithm."""
    graph = emission.graph
    both = graph.op("MatMul", [value.name, emission.weight(module.spectrum, f"{path}.spectrum")], hint=path)
    square = graph.op("Mul", [both, both], hint=path)
    energy = graph.op("MatMul", [square, emission.weight(module.mel, f"{path}.mel")], hint=path)
    floor = graph.constant(np.asarray(module.FLOOR, np.float32), f"{path}.floor")
    name = graph.op("Log", [graph.op("Add", [energy, floor], hint=path)], hint=path)
    return replace(value, name=name, shape=(*value.shape[:-1], module.mel.shape[1]))


@emits(Bidirectional)
def emit_bidirectional(_: Emission, module: Bidirectional, path: str, __: Value) -> Value:
    """Refused: a stream has no end to begin from."""
    raise ExportRefused(
        f"{describe(module, path)} is bidirectional: its backward half needs the future, which a stream has not;"
        " train it with bidirectional=false and, to see a little ahead, with targets delayed by some steps"
    )
