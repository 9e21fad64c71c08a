"""How a foreign graph is read: constants bound, states cut and paired, axes laid out; all of it run before it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import TensorProto, numpy_helper

from edge_rnn.contract.errors import ExportRefused, UsageError
from edge_rnn.contract.framing import Framing
from exporters.foreign.asked import Asked, bind_constants
from exporters.foreign.blame import first_unlike
from exporters.foreign.flow import Flow, node_name
from exporters.foreign.layout import Layout, Roles, Wiring, describe, layouts
from exporters.foreign.model import Declared, ForeignModel
from exporters.foreign.pairs import Pair, propose_pairs
from exporters.foreign.search import Constants, Search
from exporters.foreign.surgery import Cut, expose_states, refuse_backward, uncut_inside
from exporters.foreign.wrap import add_batch_axes, fold_constants, free_axes

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


@dataclass(frozen=True)
class Reading:
    """A graph and how it is read. ``original`` is the file's own, ``model`` has its hidden states exposed.

    ``probabilities``: what comes out last is a sigmoid's or a softmax's.
    """

    original: ForeignModel
    model: ForeignModel
    cut: Cut
    wiring: Wiring
    layout: Layout
    framing: Framing | None
    probabilities: bool
    folded: Constants = field(default_factory=dict)
    """Constants that ``model`` has as weights and ``original`` as inputs."""

    @property
    def original_wiring(self) -> Wiring:
        """The wiring of the file itself, without the states that were cut."""
        kept = [index for index, pair in enumerate(self.wiring.pairs) if pair not in self.cut.pairs]
        return replace(
            self.wiring,
            pairs=tuple(self.wiring.pairs[index] for index in kept),
            dtypes=tuple(self.wiring.dtypes[index] for index in kept),
            constants={**self.wiring.constants, **self.folded},
        )

    def graph(self) -> bytes:
        """The step graph: the file's own bytes unless something had to change."""
        names = {spec.name for spec in self.wiring.streamed}
        inputs = {name: roles for name, roles in (*self.layout.inputs.items(), *self.layout.states.items())}
        outputs = {name: roles for name, roles in self.layout.outputs.items() if name in self.wiring.outputs}
        outputs |= {pair.output: self.layout.states[pair.input] for pair in self.wiring.pairs}
        assert names <= set(inputs)
        return add_batch_axes(self.model, inputs, outputs).data()

    def first_state(self, pair: Pair) -> np.ndarray:
        """One stream's first value of a state: ``[*row]``."""
        if pair.input in self.cut.initial:
            return self.cut.initial[pair.input]
        row = [role for role in self.layout.states[pair.input] if isinstance(role, int)]
        return np.zeros(row, self.wiring.dtypes[self.wiring.pairs.index(pair)])

    def blame(self) -> str | None:
        """The node that depends on how time is cut, in words."""
        return first_unlike(self.model, self.wiring, self.layout) if self.layout.has_time else None


def read_model(original: ForeignModel, asked: Asked) -> Reading:
    """Find out how a graph is to be read. Raises `UsageError` naming the flag to give, `ExportRefused` naming the node."""
    constants = bind_constants(original, asked.constants)
    _check_names(original, asked)
    _check_weights(original)
    flow = Flow(original.proto.graph)
    freed = {
        name: {axis: str(role) for axis, role in enumerate(roles) if role in ("time", "batch")}
        for name, roles in asked.axes.items()
        if name in original.inputs
        and any(_is_frozen(original.inputs[name], axis, role) for axis, role in enumerate(roles))
    }
    if freed:
        original = free_axes(original, freed)
        flow = Flow(original.proto.graph)
    refuse_backward(flow, original.name)
    cut = expose_states(original, flow)
    reading, reasons = _search(original, cut, flow, asked, constants)
    if cut.pairs and (reading is None or not reading.layout.has_time):
        reading = _thawed(original, asked, constants) or _refuse_frozen(cut, reading, original)
    inside = uncut_inside(flow) if reading is None or not reading.wiring.pairs else None
    if inside is not None:
        if constants:  # the branch that they choose may hold it in the open
            folded = fold_constants(original, {name: value for name, (value, _) in constants.items()})
            return replace(read_model(folded, replace(asked, constants={})), original=original, folded=constants)
        raise ExportRefused(
            f"{original.name}: node {node_name(inside)!r} ({inside.op_type}) stands inside an If, Loop or Scan and its state"
            " is not exposed; bind the inputs that choose the branch by --constant, or export the model with its state"
        )
    if reading is None:
        raise _unread(original, asked, constants, reasons, cut)
    return reading


def _search(
    original: ForeignModel, cut: Cut, flow: Flow, asked: Asked, constants: Constants
) -> tuple[Reading | None, dict[str, str]]:
    found, reasons = Search(original, cut, flow, asked, constants).run()
    if found is None:
        return None, reasons
    made = flow.made_by(found.wiring.outputs[0])
    likely = bool(made) and made <= {"Sigmoid", "Softmax"}
    return Reading(original, cut.model, cut, found.wiring, found.layout, asked.framing, likely), {}


def _thawed(original: ForeignModel, asked: Asked, constants: Constants) -> Reading | None:
    """The graph read with axes of a fixed size set free, where it then runs over any number of steps."""
    for spec in original.inputs.values():
        if spec.name in constants or not spec.is_float:
            continue
        fixed = [axis for axis, size in enumerate(spec.dims[:-1]) if size is not None and size > 1]
        for axes in [fixed, *([axis] for axis in fixed)] if len(fixed) > 1 else [fixed]:
            free = free_axes(original, {spec.name: {axis: f"free.{axis}" for axis in axes}})
            flow = Flow(free.proto.graph)
            try:
                reading, _ = _search(free, expose_states(free, flow), flow, asked, constants)
            except ExportRefused:
                continue
            if axes and reading is not None and reading.layout.has_time:
                return reading
    return None


def _refuse_frozen(cut: Cut, reading: Reading | None, original: ForeignModel) -> Reading | None:
    if reading is None:
        return None
    inputs = ", ".join(str(spec) for spec in reading.wiring.streamed)
    raise ExportRefused(
        f"{original.name}: the state of node {cut.nodes[0]!r} is not exposed, and the graph takes a fixed number of steps a"
        f" call ({inputs}): nothing proves that it may be cut; export the model with its time axis dynamic, or with its"
        " state as input and output"
    )


def _is_frozen(spec: Declared, axis: int, role: int | str) -> bool:
    if axis >= len(spec.dims) or spec.dims[axis] is None:
        return False
    return role == "time" or (role == "batch" and spec.dims[axis] != 1)


def _check_names(model: ForeignModel, asked: Asked) -> None:
    for name in asked.axes:
        if name not in model.inputs and name not in model.outputs:
            there = ", ".join((*model.inputs, *model.outputs))
            raise UsageError(f"--axes {name}=...: {model.name} has no tensor {name!r}; it has {there}")
    if asked.output is not None and asked.output not in model.outputs:
        raise UsageError(f"--output {asked.output}: {model.name} has the outputs {', '.join(model.outputs)}")


def _check_weights(model: ForeignModel) -> None:
    """Raises `ExportRefused` for a matrix with NaN: onnxruntime's LSTM makes finite numbers of it, which mean nothing."""
    for tensor in model.proto.graph.initializer:
        if len(tensor.dims) > 1 and tensor.data_type in FLOATS and np.isnan(numpy_helper.to_array(tensor)).any():
            raise ExportRefused(
                f"{model.name}: the weight {tensor.name!r} holds NaN: its training went astray; export an earlier checkpoint"
            )


def _unread(
    model: ForeignModel, asked: Asked, constants: Constants, reasons: Mapping[str, str], cut: Cut
) -> ExportRefused | UsageError:
    """Why no layout runs, and the flag to give or the node that is to blame."""
    if not reasons:
        streamed = [spec for name, spec in model.inputs.items() if name not in constants and name not in asked.states]
        told = "; ".join(map(str, streamed))
        width = f"windows of {asked.framing.width} samples" if asked.framing else "the sizes it declares"
        return UsageError(
            f"{model.name}: its inputs ({told}) do not take {width}; give --framing hop=N,context=N or --axes"
            f" {streamed[0].name}=role,..."
        )
    flow = Flow(model.proto.graph)
    for pairs in propose_pairs(model, flow, asked.states, tuple(constants)):
        wiring = Search(model, cut, flow, asked, constants).wire(pairs)
        for layout in _timed_layouts(cut.model, wiring, asked):
            if (blamed := first_unlike(cut.model, wiring, layout)) is not None:
                return ExportRefused(
                    f"{model.name}: it does not run as a stream: {blamed}; tried {describe(layout)}. A stream has only its"
                    " past: export the model causal and with its state, or say how its axes lie by --axes"
                )
    tried, why = next(iter(reasons.items()))
    return ExportRefused(
        f"{model.name}: no way of reading its axes runs as streams do; {tried}: {why}. Say them by --axes NAME=role,...,"
        " --state IN=OUT, --constant NAME=VALUE"
    )


def _timed_layouts(model: ForeignModel, wiring: Wiring, asked: Asked) -> list[Layout]:
    width = asked.framing.width if asked.framing else None
    roles: Mapping[str, Roles] = asked.axes
    return [layout for layout in layouts(model, wiring, roles, width) if layout.has_time][:4]
