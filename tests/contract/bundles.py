"""A bundle around a graph that is never opened: for what the contract says of files and manifests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_rnn.contract.bundle import GOLDEN, GRAPH, Bundle, write_bundle
from edge_rnn.contract.golden import Golden, encode_golden
from edge_rnn.contract.signature import (
    FORMAT,
    ConstantSpec,
    InitialArray,
    InputSpec,
    Manifest,
    OutputSpec,
    StateSpec,
)
from edge_rnn.contract.trial import run_chunks
from tests.contract.leaky import WIDTH, noise, subject

MANIFEST = Manifest(
    format=FORMAT,
    name="leaky",
    graph=GRAPH,
    precision="fp32",
    opset=17,
    onnxruntime="1.12",
    inputs=(
        InputSpec(
            name="x",
            dtype="float32",
            shape=("time", "batch", WIDTH),
            axes=("time", "batch", "feature"),
            features=("a", "b", "c"),
        ),
    ),
    outputs=(OutputSpec(name="y", dtype="float32", shape=("time", "batch", WIDTH), axes=("time", "batch", "feature")),),
    states=(StateSpec(name="s", input="s", output="s.next", dtype="float32", shape=("batch", WIDTH)),),
    files={GRAPH: "sha256:0"},
)

SPECIAL = (
    StateSpec(
        name="t",
        input="t",
        output="t.next",
        dtype="float64",
        shape=(2, "batch", 4),
        initial=InitialArray(file="initial.npz", array="t"),
    ),
    ConstantSpec(name="rate", dtype="int64", value=16000),
)


def golden(steps: int = 256) -> Golden:
    """The recorded run of the leaky step function, two streams."""
    inputs = noise(steps, 2)
    record = run_chunks(subject(), inputs, [1, 1, steps - 2])
    return Golden(inputs, record)


def write(path: Path, graph: bytes = b"not opened here", **files: bytes) -> Bundle:
    """Write the bundle of the leaky step function."""
    return write_bundle(path, MANIFEST, {GRAPH: graph, GOLDEN: encode_golden(MANIFEST, golden()), **files})


def changed(value: np.ndarray) -> np.ndarray:
    """The same array with one entry changed by 0.5."""
    value = value.copy()
    value.flat[0] += 0.5
    return value
