"""Signatures for kernels: an LSTM's, and one of many types in odd orders."""

from __future__ import annotations

from typing import Any

from edge_rnn.contract.signature import FORMAT, InputSpec, Manifest, OutputSpec, StateSpec


def manifest(*states: tuple[str, tuple[Any, ...]], dtype: str = "float32") -> Manifest:
    axes = ("batch", "time", "feature")
    return Manifest(
        format=FORMAT,
        name="m",
        graph="step.onnx",
        precision="fp32",
        opset=17,
        onnxruntime="1.12",
        inputs=(InputSpec(name="x", dtype="float32", shape=("batch", "time", 2), axes=axes),),
        outputs=(
            OutputSpec(name="y", dtype=dtype, shape=("batch", "time", 3), axes=axes),
            OutputSpec(name="last", dtype=dtype, shape=("batch", 2), axes=("batch", "feature")),
        ),
        states=tuple(
            StateSpec(name=f"s{i}", input=f"s{i}", output=f"s{i}.next", dtype=each, shape=shape)
            for i, (each, shape) in enumerate(states)
        ),
    )


LSTM = manifest(*[("float32", (1, "batch", 512))] * 4)
MIXED = manifest(("float32", (2, "batch", 3)), ("int64", ("batch",)), ("float16", (5, "batch")), dtype="float64")
