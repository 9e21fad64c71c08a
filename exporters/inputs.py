"""The inputs of a module: given as ``NAME:DTYPE:AXES``, or read from the module where it says them.

AXES lists the axes in the order of the module's own forward: ``time`` and ``batch``, and a number
for each axis that is fixed, e.g. ``x:float32:batch,time,5`` or ``tokens:int64:batch,time``. Beside
inputs with a time axis, one without it stays the same along a stream: ``speaker:float32:batch,8``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import nn

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import InputSpec
from edge_rnn.models import ElmanSigmoid, JordanLayer, SequenceModel

DTYPES = ("float32", "int64", "int32", "uint8", "int16")
EXAMPLE = "x:float32:batch,time,5"
LARGEST_ROW = 2**18
"""Numbers in one step of an input: the gates keep 256 steps of 8 streams in memory."""


def parse_input(text: str) -> InputSpec:
    """Read ``NAME:DTYPE:AXES``. Raises `UsageError` naming the part that is wrong."""

    def refuse(what: str) -> UsageError:
        return UsageError(f"--input {text!r}: {what}; give NAME:DTYPE:AXES, e.g. {EXAMPLE}")

    parts = text.split(":")
    if len(parts) != 3 or not all(parts):
        raise refuse(f"found {len(parts)} parts between colons, expected 3")
    name, dtype, axes_text = parts
    if dtype not in DTYPES:
        raise refuse(f"the type is {dtype!r}, expected one of {', '.join(DTYPES)}")
    dims = [dim.strip() for dim in axes_text.split(",")]
    if dims.count("batch") != 1 or dims.count("time") > 1:
        raise refuse(f"the axes are {dims}, expected 'batch' once and 'time' at most once")
    for dim in dims:
        if dim not in ("time", "batch") and not (dim.isdecimal() and int(dim) > 0):
            raise refuse(f"the axis {dim!r} is neither time, batch nor a size")
    numbers = math.prod(int(dim) for dim in dims if dim.isdecimal())
    if numbers > LARGEST_ROW:
        raise refuse(f"a step has {numbers:,} numbers, expected at most {LARGEST_ROW:,}")
    axes = tuple(dim if dim in ("time", "batch") else "feature" for dim in dims)
    shape = tuple(dim if dim in ("time", "batch") else int(dim) for dim in dims)
    return InputSpec(name=name, dtype=dtype, shape=shape, axes=axes)


def parse_inputs(texts: Sequence[str]) -> list[InputSpec]:
    """Each ``--input``. Raises `UsageError`, also for a name that stands twice."""
    specs = [parse_input(text) for text in texts]
    twice = [spec.name for index, spec in enumerate(specs) if spec.name in {s.name for s in specs[:index]}]
    if twice:
        raise UsageError(f"--input gives {twice[0]!r} twice; each argument of forward has a name of its own")
    return specs


def parse_states(texts: Sequence[str]) -> dict[str, int]:
    """Each ``--state``. Raises `UsageError`, also for an argument or a result that stands twice."""
    found: dict[str, int] = {}
    for text in texts:
        name, index = parse_state(text)
        if name in found:
            raise UsageError(f"--state gives the argument {name!r} twice")
        if index in found.values():
            raise UsageError(f"--state gives the result {index} twice; each state has a result of its own")
        found[name] = index
    return found


def parse_state(text: str) -> tuple[str, int]:
    """Read ``ARG=INDEX``. Raises `UsageError`."""
    name, equals, index = text.partition("=")
    if not equals or not name.isidentifier() or not index.isdecimal():
        raise UsageError(
            f"--state {text!r}: expected ARG=INDEX, an argument of forward and the number of the result that is its new"
            " value, e.g. h=1"
        )
    return name, int(index)


def infer_input(module: nn.Module) -> InputSpec:
    """The one input of a module, from the first submodule that says a width and the first that says an order.

    Raises `UsageError` asking for ``--input`` where the module does not say them.
    """
    if isinstance(module, SequenceModel):
        if module.scaler is None:
            return token_input("token", module.features, module.vocabulary)
        width = module.input_width
        axes, features = ("time", "batch"), module.features
    else:
        width, features = _first_width(module), None
        axes = _axis_order(module)
    return InputSpec(name="x", dtype="float32", shape=(*axes, width), axes=(*axes, "feature"), features=features)


def token_input(name: str, features: tuple[str, ...] | None, vocabulary: tuple[str, ...] | None) -> InputSpec:
    """A stream of tokens, one whole number a step."""
    axes = ("time", "batch")
    return InputSpec(name=name, dtype="int64", shape=axes, axes=axes, features=features, vocabulary=vocabulary)


def vocabulary_of(module: nn.Module) -> int:
    """How many different whole numbers an integer input may hold: the size of the smallest embedding."""
    sizes = [child.num_embeddings for child in module.modules() if isinstance(child, (nn.Embedding, nn.EmbeddingBag))]
    return min(sizes, default=2)


def sample_input(spec: InputSpec, module: nn.Module, steps: int, batch: int, rng: np.random.Generator) -> np.ndarray:
    """A random run ``[steps, batch, *row]`` in the range that the module was made for.

    Values of a floating type follow the module's scaler where it has one, else the normal
    distribution; whole numbers are drawn from the vocabulary.
    """
    shape = (steps, batch, *spec.row_shape)
    if np.issubdtype(np.dtype(spec.dtype), np.integer):
        size = vocabulary_of(module) if spec.vocabulary is None else len(spec.vocabulary)
        return rng.integers(0, size, shape).astype(spec.dtype)
    value = rng.standard_normal(shape)
    if isinstance(module, SequenceModel) and module.log_mel is not None:
        value = 0.1 * value  # samples of sound lie in [-1, 1]
    elif isinstance(module, SequenceModel) and module.scaler is not None:
        value = value * module.scaler.std.numpy() + module.scaler.mean.numpy()
    return value.astype(spec.dtype)


def _first_width(module: nn.Module) -> int:
    for child in module.modules():
        if isinstance(child, (nn.RNNBase, nn.RNNCellBase, ElmanSigmoid, JordanLayer)):
            return int(child.input_size)
        if isinstance(child, nn.Linear):
            return child.in_features
        if isinstance(child, nn.LayerNorm):
            return int(child.normalized_shape[-1])
        if isinstance(child, nn.Conv1d):
            return child.in_channels
        if isinstance(child, nn.Embedding):
            raise UsageError(
                f"the module {type(module).__name__} takes whole numbers; say which, e.g. --input tokens:int64:batch,time"
            )
    raise UsageError(f"the module {type(module).__name__} does not say what its input is; give e.g. --input {EXAMPLE}")


def _axis_order(module: nn.Module) -> tuple[str, str]:
    for child in module.modules():
        if isinstance(child, nn.RNNBase):
            return ("batch", "time") if child.batch_first else ("time", "batch")
        if isinstance(child, (ElmanSigmoid, JordanLayer)):
            return ("time", "batch")
    raise UsageError(
        f"the module {type(module).__name__} has no recurrent layer of torch's (LSTM, GRU, RNN), so nothing says which axis"
        " is time; give e.g. --input x:float32:batch,time,5"
    )
