"""The signature of a step graph: what goes in, what comes out, and which state belongs to which.

Everything here is a frozen value that ``manifest.json`` is read into. Roles of axes are ``time``,
``batch`` and one of ``feature`` / ``class`` / any other name for what is left.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from edge_rnn.contract.accuracy import Accuracy
from edge_rnn.contract.errors import BundleError
from edge_rnn.contract.framing import Framing

FORMAT = 1
"""Version of the manifest's schema that this code reads and writes."""

OutputKind = Literal["values", "logits", "probabilities"]
Dim = int | str


class _Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all manifest parts: immutable, keyword-only, unknown fields refused."""


class TensorSpec(_Spec, frozen=True):
    """One named tensor of the graph.

    ``shape`` holds a number per fixed axis and the role's name per dynamic one, e.g.
    ``("time", "batch", 6)``; ``axes`` gives each axis its role, in the graph's own order.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]
    axes: tuple[str, ...]

    @property
    def time_axis(self) -> int | None:
        """Index of the time axis in the graph's order, or ``None``: one step a call."""
        return self.axes.index("time") if "time" in self.axes else None

    @property
    def batch_axis(self) -> int:
        """Index of the batch axis in the graph's order."""
        return self.axes.index("batch")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one step of one stream: the shape without time and batch."""
        return tuple(int(dim) for dim, role in zip(self.shape, self.axes, strict=True) if role not in ("time", "batch"))

    @property
    def width(self) -> int:
        """Numbers in one step of one stream."""
        return int(np.prod(self.row_shape, dtype=np.int64))


class InputSpec(TensorSpec, frozen=True):
    """A streamed input. ``features`` names the entries of its last axis, where they have names.

    ``vocabulary`` names the whole numbers 0, 1, ... that an input of tokens takes.
    """

    features: tuple[str, ...] | None = None
    vocabulary: tuple[str, ...] | None = None


class OutputSpec(TensorSpec, frozen=True):
    """An output. ``kind`` says how to read it; ``labels`` names the classes of a classifier.

    ``note`` says what it is where the module itself gives it for a whole sequence only, e.g.
    ``mean over the steps so far``.
    """

    kind: OutputKind = "values"
    labels: tuple[str, ...] | None = None
    note: str | None = None


class StateSpec(_Spec, frozen=True):
    """A named state pair: the graph's input ``input`` takes what its output ``output`` gave one call before.

    ``shape`` marks the batch axis by ``"batch"``, e.g. ``(1, "batch", 64)``. ``initial`` is
    ``"zeros"`` or names an array of a file of the bundle, in the shape of one stream's row.
    """

    name: str
    input: str
    output: str
    dtype: str
    shape: tuple[Dim, ...]
    initial: Literal["zeros"] | InitialArray = "zeros"

    @property
    def batch_axis(self) -> int:
        """Index of the batch axis in the graph's order."""
        return self.shape.index("batch")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one stream's state: the shape without the batch axis."""
        return tuple(int(dim) for dim in self.shape if dim != "batch")

    @property
    def row_bytes(self) -> int:
        """Bytes of one stream's state."""
        return int(np.prod(self.row_shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


class InitialArray(_Spec, frozen=True):
    """Where an initial state that is not zero is kept: ``array`` inside the ``.npz`` file ``file``."""

    file: str
    array: str


class ConstantSpec(_Spec, frozen=True):
    """An input that has the same value in every call, e.g. a sample rate.

    ``value`` is the value itself or says where it is kept. With a ``batch_axis`` it is that of one
    stream, without this axis, and is repeated along it for each stream of the call.
    """

    name: str
    dtype: str
    value: float | int | list[float | int] | InitialArray
    batch_axis: int | None = None


class GateFigure(_Spec, frozen=True):
    """What a gate measured: the largest absolute difference over ``steps`` steps of ``batch`` streams.

    ``bound`` is what was allowed: 1e-6 x max(1, largest absolute value) in fp32. Of several outputs
    and states, both numbers are those of the one that came closest to its bound.
    """

    max_abs_error: float
    bound: float
    steps: int
    batch: int


class BitStability(_Spec, frozen=True):
    """Whether results keep every bit over batch sizes and chunkings, on the engine that was swept."""

    engine: str
    holds: bool
    batches: tuple[int, ...]
    chunks: tuple[int, ...]
    max_abs_error: float


class GateReport(_Spec, frozen=True):
    """The figures of the export gates, as measured when the bundle was written.

    ``tolerance`` is the error that was allowed per unit of the largest absolute value.
    """

    parity: GateFigure
    isolation: GateFigure
    chunking: GateFigure
    bit_stability: BitStability
    tolerance: float = 1e-6


class GenerationSpec(_Spec, frozen=True):
    """How a model whose output is the next token makes text.

    ``unit`` says what a token of the vocabulary is: a character, or a word between spaces. ``begin``
    comes first in a stream, or after a prompt graph; ``stop`` ends a reply; ``unknown`` stands for
    what the vocabulary lacks. ``turns``: whether a prompt goes on from the turn before.
    """

    unit: Literal["character", "word"]
    begin: str
    stop: str | None = None
    unknown: str | None = None
    turns: Literal["continue", "fresh"] = "continue"


class PromptSpec(_Spec, frozen=True):
    """A second graph that takes the prompt alone and gives nothing but the step graph's states, by the same names.

    ``parity`` is what its gate measured against the module.
    """

    graph: str
    input: InputSpec
    parity: GateFigure | None = None


class Manifest(_Spec, frozen=True):
    """``manifest.json``: all that is needed to run the graph, and proof that the files are the ones meant.

    ``files`` maps each file of the bundle to ``"sha256:<hex>"``. ``onnxruntime`` is the least
    version that runs the graph. ``source`` says what was exported, for a person. ``batch_limit`` is
    how many streams one call of the graph takes (``None``: any number); more of them take turns.
    ``framing`` says how a stream of samples becomes the windows that the one input takes.
    ``accuracy`` is there where ``precision`` is not ``fp32``.
    """

    format: int
    name: str
    graph: str
    precision: str
    opset: int
    onnxruntime: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    states: tuple[StateSpec, ...]
    constants: tuple[ConstantSpec, ...] = ()
    framing: Framing | None = None
    batch_limit: int | None = None
    accuracy: Accuracy | None = None
    generation: GenerationSpec | None = None
    prompt: PromptSpec | None = None
    gates: GateReport | None = None
    source: dict[str, str] = {}
    files: dict[str, str] = {}

    @property
    def has_time(self) -> bool:
        """Whether one call may take several steps: every streamed input and output has a time axis."""
        return all(spec.time_axis is not None for spec in (*self.inputs, *self.outputs))

    @property
    def width(self) -> int:
        """Numbers in one step of one stream over all streamed inputs, in manifest order."""
        return sum(spec.width for spec in self.inputs)

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the entries of a step over all streamed inputs, or ``None`` if any has none."""
        names: list[str] = []
        for spec in self.inputs:
            if spec.features is None:
                return None
            names.extend(spec.features)
        return tuple(names)

    @property
    def state_bytes(self) -> int:
        """Bytes of all states of one stream."""
        return sum(spec.row_bytes for spec in self.states)


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON, the same bytes for the same value."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode_manifest(data: bytes, where: str) -> Manifest:
    """Read ``manifest.json``. Raises `BundleError` naming ``where`` and the field that is wrong."""
    try:
        version = msgspec.json.decode(data, type=dict[str, object]).get("format")
    except msgspec.DecodeError as error:
        raise BundleError(f"{where} is not a JSON object: {error}; export the bundle again") from error
    if version != FORMAT:
        raise BundleError(
            f"{where} has format {version!r}, expected {FORMAT}; use the edge-rnn version that wrote it, or export again"
        )
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(f"{where} does not fit the schema: {error}; export the bundle again") from error
    check_manifest(manifest, where)
    return manifest


def check_manifest(manifest: Manifest, where: str) -> None:
    """Check what the schema cannot say: axes match shapes, names are unique, types exist. Raises `BundleError`."""

    def refuse(what: str) -> None:
        raise BundleError(f"{where}: {what}; export the bundle again")

    if not manifest.inputs or not manifest.outputs:
        refuse("there must be at least one input and one output")
    for spec in (*manifest.inputs, *manifest.outputs):
        if len(spec.axes) != len(spec.shape) or spec.axes.count("batch") != 1 or spec.axes.count("time") > 1:
            refuse(
                f"tensor {spec.name!r} has shape {spec.shape} and axes {spec.axes}, expected one role an axis and one batch"
            )
        for dim, role in zip(spec.shape, spec.axes, strict=True):
            if isinstance(dim, str) != (role in ("time", "batch")):
                refuse(
                    f"tensor {spec.name!r} has {dim!r} on its {role} axis, expected a number where the axis is fixed"
                )
    for spec in manifest.inputs:
        if spec.features is not None and len(spec.features) != spec.width:
            refuse(f"input {spec.name!r} names {len(spec.features)} features, its step has {spec.width}")
    if manifest.generation is not None:
        made = {*(manifest.outputs[0].labels or ("",)), manifest.generation.begin}
        if strange := sorted(made - set(manifest.inputs[0].vocabulary or ())):
            refuse(f"the model generates {strange[0]!r}, which its input's vocabulary lacks")
    if manifest.prompt is not None and manifest.prompt.graph not in manifest.files:
        refuse(f"the graph {manifest.prompt.graph!r} is not among the files")
    for out in manifest.outputs:
        if out.labels is not None and len(out.labels) != out.width:
            refuse(f"output {out.name!r} names {len(out.labels)} labels, its step has {out.width}")
    for state in manifest.states:
        if state.shape.count("batch") != 1:
            refuse(f"state {state.name!r} has shape {state.shape}, expected exactly one 'batch'")
        if not all(dim == "batch" or (isinstance(dim, int) and dim >= 0) for dim in state.shape):
            refuse(f"state {state.name!r} has shape {state.shape}, expected numbers beside 'batch'")
    tensors: list[TensorSpec | StateSpec | ConstantSpec] = [*manifest.inputs, *manifest.outputs]
    tensors += [*manifest.states, *manifest.constants]
    for tensor in tensors:
        try:
            np.dtype(tensor.dtype)
        except TypeError:
            refuse(f"{tensor.name!r} has dtype {tensor.dtype!r}, expected a NumPy type name")
    ins = [s.name for s in manifest.inputs] + [s.input for s in manifest.states] + [s.name for s in manifest.constants]
    outs = [s.name for s in manifest.outputs] + [s.output for s in manifest.states]
    for what, names in (("input", ins), ("output", outs), ("state", [s.name for s in manifest.states])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            refuse(f"the {what} name {twice[0]!r} stands twice")
    if manifest.batch_limit not in (None, 1):
        refuse(f"the graph takes {manifest.batch_limit} streams a call, expected one or any number")
    framing = manifest.framing
    if framing is not None and (len(manifest.inputs) != 1 or manifest.width != framing.width or framing.hop < 1):
        refuse(f"framing {framing} makes windows of {framing.width} samples for inputs of {manifest.width}")
    if manifest.graph not in manifest.files:
        refuse(f"the graph {manifest.graph!r} is not among the files")
