"""What a user says of a foreign graph: ``--state``, ``--axes``, ``--constant``, ``--output``, ``--framing``, ``--front-end``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.framing import Framing
from edge_rnn.contract.front_end import FrontEnd
from exporters.foreign.layout import Roles
from exporters.foreign.model import Declared, ForeignModel

LARGEST_INLINE = 64
"""Constants with more values than this are kept in a file of the bundle."""


@dataclass(frozen=True)
class Asked:
    """What was given; what is left out is found by running the graph. ``constants`` maps a name to its text."""

    states: Mapping[str, str] = field(default_factory=dict)
    axes: Mapping[str, Roles] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    output: str | None = None
    framing: Framing | None = None
    front_end: FrontEnd | None = None


def parse_pairs(texts: Sequence[str]) -> dict[str, str]:
    """``IN=OUT``, once a state. Raises `UsageError`."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, output = text.partition("=")
        if not equals or not name or not output:
            raise UsageError(f"--state {text!r}: expected IN=OUT, an input of the graph and the output that follows it")
        if name in found:
            raise UsageError(f"--state gives the input {name!r} twice")
        found[name] = output
    return found


def parse_axes(texts: Sequence[str]) -> dict[str, Roles]:
    """``NAME=role,...``: ``time``, ``batch``, ``feature`` (of the size that the file declares) or a size."""
    found: dict[str, Roles] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        roles = [role.strip() for role in rest.split(",")]
        if not equals or not name or not all(roles):
            raise UsageError(f"--axes {text!r}: expected NAME=role,..., e.g. x=batch,time,80")
        for role in roles:
            if role not in ("time", "batch", "feature") and not (role.isdecimal() and int(role) > 0):
                raise UsageError(f"--axes {text!r}: {role!r} is none of time, batch, feature, nor a size")
        for role in ("time", "batch"):
            if roles.count(role) > 1:
                raise UsageError(f"--axes {text!r}: {role} stands twice")
        found[name] = tuple(int(role) if role.isdecimal() else role for role in roles)
    return found


def parse_constants(texts: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` or ``NAME=@FILE.npy``. Raises `UsageError`."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"--constant {text!r}: expected NAME=VALUE or NAME=@FILE.npy, e.g. sr=16000")
        found[name] = value
    return found


def bind_constants(model: ForeignModel, texts: Mapping[str, str]) -> dict[str, tuple[np.ndarray, int | None]]:
    """Each constant's value in the type that the graph takes, and the axis along which each stream gets its own copy."""
    bound: dict[str, tuple[np.ndarray, int | None]] = {}
    for name, text in texts.items():
        if name not in model.inputs:
            raise UsageError(
                f"--constant {name}={text}: {model.name} has no input {name!r}; its inputs are {', '.join(model.inputs)}"
            )
        spec = model.inputs[name]
        value = _value(spec, text)
        bound[name] = (value, _repeated_axis(spec, value))
    return bound


def _value(spec: Declared, text: str) -> np.ndarray:
    try:
        given = _loaded(Path(text[1:])) if text.startswith("@") else np.asarray(msgspec.json.decode(text))
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise UsageError(
            f"--constant {spec.name}={text}: {' '.join(str(error).split())}; give a number, a JSON array or @FILE.npy"
        ) from error
    if given.dtype.kind not in "biuf":
        raise UsageError(f"--constant {spec.name}={text}: expected numbers")
    value = given.astype(spec.dtype)
    if not np.array_equal(value.astype(np.float64), given.astype(np.float64)) and np.dtype(spec.dtype).kind in "iub":
        raise UsageError(f"--constant {spec.name}={text}: {spec} takes whole numbers")
    return value


def _loaded(path: Path) -> np.ndarray:
    """A file of `numpy.save`'s. Raises `OSError`, `ValueError`."""
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ValueError("this is not what numpy.save writes")
    return np.asarray(np.load(path, allow_pickle=False))


def _repeated_axis(spec: Declared, value: np.ndarray) -> int | None:
    """Where a value lacks one axis of any size, that axis is the batch."""
    if value.ndim == len(spec.dims) - 1 and None in spec.dims:
        axis = spec.dims.index(None)
        rest = [size for at, size in enumerate(spec.dims) if at != axis]
        if all(size in (None, found) for size, found in zip(rest, value.shape, strict=True)):
            return axis
    if value.ndim == 0 and spec.dims and all(size == 1 for size in spec.dims):
        return None
    if value.ndim != len(spec.dims) or any(
        size not in (None, found) for size, found in zip(spec.dims, value.shape, strict=True)
    ):
        raise UsageError(f"--constant {spec.name}: the value has shape {list(value.shape)}, the graph takes {spec}")
    return None
