"""An ONNX file as it came: its protobuf, what it declares, and sessions that run it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edge_rnn.contract.errors import EngineError, ExportRefused, UsageError
from edge_rnn.contract.ort import import_onnxruntime

LARGEST_BYTES = 2**31 - 2**20
"""A graph with its weights must fit into one protobuf."""

Feed = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Declared:
    """An input or output as the file declares it: NumPy type, sizes (``None``: any) and the sizes' names."""

    name: str
    dtype: str
    dims: tuple[int | None, ...]
    symbols: tuple[str, ...]

    def __str__(self) -> str:
        sizes = (
            symbol or ("?" if size is None else str(size)) for size, symbol in zip(self.dims, self.symbols, strict=True)
        )
        return f"{self.name} {self.dtype}[{', '.join(sizes)}]"

    @property
    def is_float(self) -> bool:
        """Whether its values are of a floating type."""
        return np.issubdtype(np.dtype(self.dtype), np.floating)


class ForeignModel:
    """A model from elsewhere. ``proto`` is not changed once it is here: what works on it copies it."""

    def __init__(self, proto: onnx.ModelProto, name: str) -> None:
        self.proto = proto
        self.name = name
        kept = {tensor.name for tensor in proto.graph.initializer}
        self.inputs = {v.name: _declared(v) for v in proto.graph.input if v.name not in kept}
        self.outputs = {v.name: _declared(v) for v in proto.graph.output}

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return max((o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")), default=1)

    def data(self) -> bytes:
        """The model as one protobuf. Raises `ExportRefused` when it is too large for one."""
        size = self.proto.ByteSize()
        if size > LARGEST_BYTES:
            raise ExportRefused(f"{self.name} has {size:,} bytes, a step graph has {LARGEST_BYTES:,} at most")
        return bytes(self.proto.SerializeToString(deterministic=True))

    def session(self) -> Session:
        """Open it in ONNX Runtime. Raises `ExportRefused` where that fails."""
        return Session(self.data(), self.name)


class Session:
    """A graph opened on one thread of the CPU: arrays in and out by name, in the graph's own axes."""

    def __init__(self, data: bytes, name: str) -> None:
        ort = import_onnxruntime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session: Any = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's classes share no base
            raise ExportRefused(
                f"onnxruntime {ort.__version__} cannot open {name}: {one_line(error)}; is it for another version, or does"
                " it need operators of its own?"
            ) from error
        self.outputs = [node.name for node in self._session.get_outputs()]

    def run(self, feed: Feed, wanted: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """One call. Raises `EngineError` with the runtime's words, which name the node."""
        names = list(wanted) if wanted is not None else self.outputs
        try:
            values = self._session.run(names, dict(feed))
        except Exception as error:
            raise EngineError(one_line(error)) from error
        return dict(zip(names, values, strict=True))


def open_model(path: Path) -> ForeignModel:
    """Read an ONNX file with its external weights. Raises `UsageError` when it is none."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give an ONNX file")
    try:
        proto = onnx.load(str(path))
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf's and onnx's own classes share no base
        raise UsageError(
            f"{path} is not an ONNX model: {one_line(error)}; give the file as it was exported, its external weights beside it"
        ) from error
    return ForeignModel(proto, path.name)


def with_outputs(model: ForeignModel, names: Iterable[str]) -> Session:
    """The model opened with these tensors of its main graph as further outputs."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    there = {output.name for output in proto.graph.output}
    for name in names:
        if name not in there:
            proto.graph.output.add().name = name
    return Session(bytes(proto.SerializeToString()), model.name)


def one_line(error: BaseException) -> str:
    """An error's first words on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _declared(value: onnx.ValueInfoProto) -> Declared:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise ExportRefused(
            f"{value.name!r} is no tensor (a sequence or map): a step graph takes and gives tensors only"
        )
    taken = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if taken.kind not in "biuf":
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ExportRefused(
            f"{value.name!r} is of type {kind}: a step graph takes and gives plain numbers; cast it within the graph"
        )
    dims = [(dim.dim_value or None) if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    symbols = tuple(dim.dim_param for dim in tensor.shape.dim)
    return Declared(value.name, str(taken), tuple(dims), symbols)
