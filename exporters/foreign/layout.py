"""Layouts: which axis of which tensor is time, batch or feature.

A *layout* gives each axis of each tensor its role: ``time``, ``batch`` or the size of a feature axis.
Here those are listed that the declared sizes allow; `exporters.foreign.roles` runs them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_rnn.contract.errors import ExportRefused, UsageError
from exporters.foreign.model import Declared, ForeignModel
from exporters.foreign.pairs import Pair

Role = int | str
Roles = tuple[Role, ...]

MOST_LAYOUTS = 64


@dataclass(frozen=True)
class Layout:
    """The roles of all axes. ``one_stream``: a call takes one stream only."""

    inputs: Mapping[str, Roles]
    states: Mapping[str, Roles]
    one_stream: bool
    outputs: Mapping[str, Roles] = field(default_factory=dict)

    @property
    def has_time(self) -> bool:
        """Whether every streamed input has a time axis."""
        return all("time" in roles for roles in self.inputs.values())


@dataclass(frozen=True)
class Wiring:
    """What is decided of a graph: streamed inputs, pairs, constants as fed for one stream, and samples to run it on.

    ``constants`` maps a name to its value and the axis along which it is repeated for each stream.
    """

    streamed: tuple[Declared, ...]
    pairs: tuple[Pair, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, tuple[np.ndarray, int | None]]
    draw: Mapping[str, int]
    """For an input of whole numbers how many different ones it takes."""
    dtypes: tuple[str, ...]
    """NumPy types of the states, in the pairs' order."""


def layouts(model: ForeignModel, wiring: Wiring, given: Mapping[str, Roles], width: int | None) -> Iterator[Layout]:
    """Layouts that the declared sizes allow, those with time and batch first. ``width``: samples of a window."""
    options = [list(_options(spec, given.get(spec.name), width)) for spec in wiring.streamed]
    states = {pair.input: model.inputs[pair.input] for pair in wiring.pairs}
    flexible = all(None in spec.dims or "batch" in given.get(name, ()) for name, spec in states.items())
    found: list[tuple[int, Layout]] = []
    for chosen in itertools.islice(itertools.product(*options), 4096):
        inputs = {spec.name: roles for spec, roles in zip(wiring.streamed, chosen, strict=True)}
        if not _agree(wiring.streamed, inputs):
            continue
        fixed = [_batch_is_fixed(spec, inputs[spec.name]) for spec in wiring.streamed]
        one = any(fixed) or not flexible
        if one and not all(fixed):
            continue  # a batch that grows cannot share states that do not
        kept = {name: _state_roles(spec, given.get(name), one=one) for name, spec in states.items()}
        score = sum(2 * ("time" in roles) + 3 * (not one) for roles in chosen)
        found.append((score, Layout(inputs, kept, one)))
    found.sort(key=lambda each: -each[0])
    yield from (layout for _, layout in found[:MOST_LAYOUTS])


def _options(spec: Declared, given: Roles | None, width: int | None) -> Iterator[Roles]:
    """Ways to read one streamed input."""
    if given is not None:
        if len(given) != len(spec.dims):
            raise UsageError(f"--axes {spec.name}={','.join(map(str, given))}: {spec} has {len(spec.dims)} axes")
        yield tuple(_fixed(spec, axis, role) for axis, role in enumerate(given))
        return
    choices: list[tuple[Role, ...]] = []
    for size in spec.dims:
        if size is None:
            choices.append(("batch", "time", *(() if width is None else (width,))))
        else:
            choices.append(("batch", 1) if size == 1 else (size,))
    for roles in itertools.product(*choices):
        if roles.count("batch") > 1 or roles.count("time") > 1:
            continue
        if width is not None and int(np.prod([role for role in roles if isinstance(role, int)])) != width:
            continue
        yield roles


def _fixed(spec: Declared, axis: int, role: Role) -> Role:
    size = spec.dims[axis]
    if role == "feature":
        if size is None:
            raise UsageError(
                f"--axes: axis {axis} of {spec} has no size; give its number in place of 'feature', or --framing"
            )
        return size
    if isinstance(role, int) and size is not None and role != size:
        raise UsageError(f"--axes: axis {axis} of {spec} has size {size}, not {role}")
    return role


def _agree(specs: Sequence[Declared], inputs: Mapping[str, Roles]) -> bool:
    """Whether sizes of one name have one role."""
    roles: dict[str, Role] = {}
    for spec in specs:
        for symbol, role in zip(spec.symbols, inputs[spec.name], strict=True):
            if symbol and roles.setdefault(symbol, role) != role:
                return False
    return True


def _batch_is_fixed(spec: Declared, roles: Roles) -> bool:
    """Whether an input takes one stream a call."""
    return "batch" not in roles or spec.dims[roles.index("batch")] == 1


def _state_roles(spec: Declared, given: Roles | None, *, one: bool) -> Roles:
    """The roles of a state's axes. Raises `ExportRefused` where several could be its batch."""
    if given is not None:
        return tuple(_fixed(spec, axis, role) for axis, role in enumerate(given))
    if one:
        ones = [axis for axis, size in enumerate(spec.dims) if size in (1, None)]
        at = 1 if 1 in ones and len(spec.dims) > 2 else ones[0] if ones else None
        return tuple("batch" if axis == at else size or 1 for axis, size in enumerate(spec.dims))
    if spec.dims.count(None) > 1:
        raise ExportRefused(
            f"the state {spec} has several axes without a size; say which is which, e.g. --axes {spec.name}=1,batch,64"
        )
    return tuple("batch" if size is None else size for size in spec.dims)


def describe(layout: Layout) -> str:
    """A layout in the form that ``--axes`` takes."""
    return " ".join(f"{name}={','.join(map(str, roles))}" for name, roles in layout.inputs.items())
