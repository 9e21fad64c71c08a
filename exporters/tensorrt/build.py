"""A decomposed step graph to a TensorRT engine for one GPU, which need not be here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_rnn.contract.errors import EngineError
from edge_rnn.contract.plans import BATCHES
from edge_rnn.contract.tensorrt import Library, logger, told_error
from exporters.decompose.chunk import ChunkGraph
from exporters.tensorrt.inspection import Inspection, check_inspection, read_log


@dataclass(frozen=True)
class Built:
    """An engine's bytes and what its builder told of it."""

    plan: bytes
    inspection: Inspection


def build_engine(
    library: Library,
    graph: ChunkGraph,
    gpu: str,
    *,
    batches: tuple[int, int, int] = BATCHES,
    timings: Path | None = None,
) -> Built:
    """Build the engine of one chunk in the types of its graph: no TF32, and NaN stays NaN, as the runtime looks for it.

    ``timings``: the file of the timing cache, which ``tensorrt`` fills; TensorRT for RTX measures on the device.
    Raises `EngineError` saying what the builder told.
    """
    trt = library.module
    told: list[str] = []
    log = logger(trt, told)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph.graph):
        reasons = [parser.get_error(number) for number in range(parser.num_errors)]
        first = (
            f"{reasons[0].node_name()} ({reasons[0].node_operator()}): {reasons[0].desc()}"
            if reasons
            else "no reason given"
        )
        raise _failed(library, graph, f"cannot read its graph: {first}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.BuilderFlag, "STRICT_NANS"):
        config.set_flag(trt.BuilderFlag.STRICT_NANS)
    _set_profile(builder, config, network, batches)
    target = library.gpus()[gpu]
    if target is not None:
        config.num_compute_capabilities = 1
        config.set_compute_capability(target, 0)
    kept = timings is not None and library.name == "tensorrt"
    if kept:
        assert timings is not None
        cache = config.create_timing_cache(timings.read_bytes() if timings.is_file() else b"")
        config.set_timing_cache(cache, False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed(library, graph, f"cannot build it for {gpu}: {told_error(told)}")
    if kept:
        assert timings is not None
        timings.parent.mkdir(parents=True, exist_ok=True)
        timings.write_bytes(bytes(config.get_timing_cache().serialize()))
    kinds = Counter(network.get_layer(number).type.name for number in range(network.num_layers))
    inspection = read_log(told, dict(sorted(kinds.items())))
    check_inspection(inspection, graph.manifest)
    return Built(bytes(plan), inspection)


def _set_profile(builder: Any, config: Any, network: Any, batches: tuple[int, int, int]) -> None:
    """Every dynamic size of an input is the number of streams."""
    profile = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        tensor = network.get_input(number)
        profile.set_shape(
            tensor.name, *(tuple(batch if size < 0 else size for size in tensor.shape) for batch in batches)
        )
    config.add_optimization_profile(profile)


def _failed(library: Library, graph: ChunkGraph, what: str) -> EngineError:
    return EngineError(
        f"{library.name} {library.version} {what} ({graph.manifest.name!r}, chunk of {graph.chunk});"
        " run the bundle on the CPU or with CUDA"
    )
