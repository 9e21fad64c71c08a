"""ONNX files as torch's exporters and others write them, made here."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

FEATURES, HIDDEN = 5, 16


class Tagger(nn.Module):
    """A recurrent layer and a head, as they are written where nobody thinks of streams."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, layers: int = 1, **options: bool) -> None:
        super().__init__()
        self.rnn = kind(FEATURES, HIDDEN, layers, **options)
        self.head = nn.Linear(HIDDEN * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0]).softmax(-1)


class LastStep(Tagger):
    """Says one thing at the end."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


class MeanOverTime(Tagger):
    """A mean over the whole sequence."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0].mean(1))


class LooksAhead(Tagger):
    """A convolution that sees one step ahead, before the layer."""

    def __init__(self) -> None:
        super().__init__(batch_first=True)
        self.conv = nn.Conv1d(FEATURES, FEATURES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.conv(x.transpose(1, 2)).transpose(1, 2))


class Exposed(nn.Module):
    """State in, state out; c before h."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y, (h, c) = self.rnn(x, (h, c))
        return y, c, h


class Decomposed(nn.Module):
    """A cell that the exporter takes apart: no operator says which is h and which is c."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(FEATURES, HIDDEN)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, c = self.cell(x, (h, c))
        return h * 2.0, c, h


def torch_file(
    module: nn.Module,
    path: Path,
    samples: Sequence[Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic: dict[str, dict[int, str]],
    *,
    dynamo: bool = False,
) -> Path:
    """A module exported by torch itself, its state left where it is."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        torch.manual_seed(3)
        warnings.simplefilter("ignore")  # torch says that its older exporter will go
        shapes = {"dynamo": True, "dynamic_shapes": dynamic} if dynamo else {"dynamo": False, "dynamic_axes": dynamic}
        torch.onnx.export(
            module.eval(),
            tuple(samples),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            **shapes,
        )
    return path


def tagger_file(module: nn.Module, path: Path, dynamic: dict[int, str] | None = None, *, dynamo: bool = False) -> Path:
    """A whole-sequence module of one input ``x`` and one output ``y``."""
    axes = {0: "batch", 1: "time"} if dynamic is None else dynamic
    names = {"x": axes} if dynamo else {"x": axes, "y": axes}
    return torch_file(module, path, [torch.randn(2, 7, FEATURES)], ["x"], ["y"], names, dynamo=dynamo)


def cell_file(path: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Path:
    """The decomposed cell with these names for x, h, c and y, c', h'."""
    names = {name: {0: "n"} for name in (*inputs, *outputs)}
    samples = [torch.randn(2, FEATURES), torch.randn(2, HIDDEN), torch.randn(2, HIDDEN)]
    return torch_file(Decomposed(), path, samples, inputs, outputs, names)


def by_hand(path: Path, build: Callable[[], onnx.GraphProto], opset: int = 17) -> Path:
    """A graph of one's own."""
    model = helper.make_model(build(), opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (0.4 * rng.standard_normal(shape)).astype(np.float32)


def lstm_with_first_state() -> onnx.GraphProto:
    """An LSTM whose first h is a weight and whose first c is absent: neither is exposed."""
    rng = np.random.default_rng(0)
    kept = {
        "W": weights(rng, 1, 4 * HIDDEN, FEATURES),
        "R": weights(rng, 1, 4 * HIDDEN, HIDDEN),
        "B": weights(rng, 1, 8 * HIDDEN),
        "first": np.tile(weights(rng, 1, 1, HIDDEN), (1, 1, 1)),
    }
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R", "B", "", "first"], ["Y"], name="memory", hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["Y", "axis"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in kept.items()]
    tensors.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", 1, FEATURES])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 1, HIDDEN])
    return helper.make_graph(nodes, "first", [x], [y], tensors)


def lstm_astray() -> onnx.GraphProto:
    """The same with a weight that is not a number."""
    graph = lstm_with_first_state()
    for tensor in graph.initializer:
        if tensor.name == "R":
            tensor.CopyFrom(numpy_helper.from_array(np.full((1, 4 * HIDDEN, HIDDEN), np.nan, np.float32), "R"))
    return graph


def words() -> onnx.GraphProto:
    """Text in, text out."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.STRING, ["batch", 1]) for name in "xy")
    return helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "words", [x], [y])


def scan_leaky() -> onnx.GraphProto:
    """A leaky sum in a Scan that begins with zeros of the batch's size."""
    state = helper.make_tensor_value_info("s_in", TensorProto.FLOAT, None)
    row = helper.make_tensor_value_info("row", TensorProto.FLOAT, None)
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["s_in", "leak"], ["kept"]),
            helper.make_node("Add", ["kept", "row"], ["s_out"]),
            helper.make_node("Identity", ["s_out"], ["y_row"]),
        ],
        "body",
        [state, row],
        [
            helper.make_tensor_value_info("s_out", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("y_row", TensorProto.FLOAT, None),
        ],
        [numpy_helper.from_array(np.array(0.9, np.float32), "leak")],
    )
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], start=1),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Scan", ["zeros", "x"], ["last", "y"], name="leaky", num_scan_inputs=1, body=body),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", "N", 4])
    return helper.make_graph(nodes, "scan", [x], [y])


def switch_with_state(hidden: bool) -> onnx.GraphProto:
    """An If on ``sr``: a GRU in each branch, its state in the open or not."""
    rng = np.random.default_rng(1)

    def branch(name: str, scale: float) -> onnx.GraphProto:
        tensors = [
            numpy_helper.from_array(scale * weights(rng, 1, 3 * HIDDEN, FEATURES), f"W{name}"),
            numpy_helper.from_array(scale * weights(rng, 1, 3 * HIDDEN, HIDDEN), f"R{name}"),
        ]
        gates = [f"W{name}", f"R{name}", "", "", "" if hidden else "memory_in"]
        given = ["x", *gates[:2], "", "", gates[4]] if not hidden else ["x", *gates[:2]]
        node = helper.make_node("GRU", given, [f"Y{name}", f"H{name}"], name=f"gru{name}", hidden_size=HIDDEN)
        outs = [helper.make_tensor_value_info(f"{each}{name}", TensorProto.FLOAT, None) for each in "YH"]
        return helper.make_graph([node], f"branch{name}", [], outs, tensors)

    nodes = [
        helper.make_node("Equal", ["sr", "rate"], ["is_fast"]),
        helper.make_node(
            "If",
            ["is_fast"],
            ["Y", "memory_out"],
            name="rate",
            then_branch=branch("1", 1.0),
            else_branch=branch("2", 0.5),
        ),
        helper.make_node("Squeeze", ["Y", "axis"], ["y"]),
    ]
    tensors = [
        numpy_helper.from_array(np.array(16000, np.int64), "rate"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", FEATURES]),
        helper.make_tensor_value_info("sr", TensorProto.INT64, []),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", "N", HIDDEN])]
    if not hidden:
        inputs.append(helper.make_tensor_value_info("memory_in", TensorProto.FLOAT, [1, "N", HIDDEN]))
        outputs.append(helper.make_tensor_value_info("memory_out", TensorProto.FLOAT, [1, "N", HIDDEN]))
    return helper.make_graph(nodes, "switch", inputs, outputs, tensors)


def speaker_gru() -> onnx.GraphProto:
    """A GRU whose input is joined by a constant of each stream, and a gain for all."""
    rng = np.random.default_rng(2)
    tensors = [
        numpy_helper.from_array(weights(rng, 1, 3 * HIDDEN, FEATURES), "W"),
        numpy_helper.from_array(weights(rng, 1, 3 * HIDDEN, HIDDEN), "R"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    nodes = [
        helper.make_node("Add", ["x", "speaker"], ["voiced"]),
        helper.make_node("Mul", ["voiced", "gain"], ["louder"]),
        helper.make_node("GRU", ["louder", "W", "R", "", "", "h_in"], ["Y", "h_out"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["Y", "axis"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", FEATURES]),
        helper.make_tensor_value_info("speaker", TensorProto.FLOAT, ["N", FEATURES]),
        helper.make_tensor_value_info("gain", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("h_in", TensorProto.FLOAT, [1, "N", HIDDEN]),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", "N", HIDDEN]),
        helper.make_tensor_value_info("h_out", TensorProto.FLOAT, [1, "N", HIDDEN]),
    ]
    return helper.make_graph(nodes, "speaker", inputs, outputs, tensors)
