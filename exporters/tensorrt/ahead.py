"""A bundle's engines for all of its chunks: taken from the cache where they fit, else built.

1. decompose   the step graph, once for each chunk size
2. prove       the graphs on the CPU: the golden vectors, and the bundle's own operators
3. lower       their products, where another precision is asked for, and hold them to fp32's answers
4. build       what the cache does not have for these weights, this GPU, version and precision
5. inspect     no loop, every state in and out
6. keep        in the cache, each engine whole or not at all
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.plans import LARGEST, EnginePrecision, Plan, PlanCache, PlanKey, chunk_sizes, plan_key
from edge_rnn.contract.tensorrt import Library
from exporters.decompose.chunk import decompose_bundle
from exporters.decompose.proof import prove_chunks
from exporters.precision.convert import MAX_DROP
from exporters.tensorrt.build import build_engine
from exporters.tensorrt.inspection import Inspection, check_inspection
from exporters.tensorrt.lower import calibration_of, largest_inputs, lower_chunk, prove_lower


class Engine(msgspec.Struct, frozen=True):
    """An engine in the cache: ``built`` now, or found there."""

    key: PlanKey
    path: str
    plan_bytes: int
    built: bool
    inspection: Inspection


def build_engines(
    bundle: Bundle,
    library: Library,
    gpu: str | None,
    cache_dir: Path,
    *,
    largest: int = LARGEST,
    precision: EnginePrecision = "fp32",
    calibration: Path | None = None,
    max_drop: float = MAX_DROP,
) -> list[Engine]:
    """The engines of the chunks 1, 2, 4, ... ``largest`` (of one step, where the graph takes one a call).

    In a lower precision they are proved on the CPU as far as it has it, see `exporters.tensorrt.lower`; those in int8
    are built anew each time, for ``calibration`` may be another. Raises `UsageError` for a GPU that is not in the builder's list, `ExportRefused`, `GateFailed` or `EngineError` when
    the graph cannot be decomposed, is not proved, or does not build.
    """
    gpu = library.check_gpu(gpu)
    graphs = [decompose_bundle(bundle, size) for size in chunk_sizes(bundle.manifest, largest)]
    prove_chunks(bundle, graphs)
    if precision != "fp32":
        runs = calibration_of(bundle, calibration)
        sizes = largest_inputs(bundle, runs) if precision == "int8" else {}
        played = [lower_chunk(graph, precision, sizes, played=True) for graph in graphs]
        prove_lower(bundle, played, precision, runs, max_drop)
        graphs = [lower_chunk(graph, precision, sizes) for graph in graphs]
    cache, engines = PlanCache(cache_dir), []
    timings = cache_dir / f"{library.name}-{library.version}-{gpu}.timings"
    for graph in graphs:
        key = plan_key(bundle.manifest, library.name, library.version, gpu, graph.chunk, precision)
        found = None if precision == "int8" else cache.read(key)
        if found is None:
            made = build_engine(library, graph, gpu, batches=key.batches, timings=timings)
            plan, inspection = Plan(made.plan, msgspec.json.encode(made.inspection)), made.inspection
            cache.write(key, plan)
        else:
            plan, inspection = found, msgspec.json.decode(found.told, type=Inspection)
            check_inspection(inspection, graph.manifest)
        engines.append(Engine(key, str(cache.path(key)), len(plan.plan), found is None, inspection))
    return engines
