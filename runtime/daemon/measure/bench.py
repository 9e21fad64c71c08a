"""All that ``edge-rnn bench`` measures, in one go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edge_rnn.contract.bundle import open_bundle
from edge_rnn.contract.ort import import_onnxruntime
from runtime.codecs.registry import DECODERS, ENCODERS, make_decoder
from runtime.core.batch import RecordBatch
from runtime.core.scheduler import Limits
from runtime.daemon.measure.advice import Advice, Limit, advise, find_limit, stage_costs
from runtime.daemon.measure.end_to_end import EndToEnd, run_daemon
from runtime.daemon.measure.examples import example_values
from runtime.daemon.measure.model import ModelCell, model_alone, shapes
from runtime.daemon.measure.stages import CodecFigures, StageFigures, codec_alone, stages
from runtime.daemon.measure.transport import TransportFigures, consume_and_produce, filled_place
from runtime.engines.cores import available_cores
from runtime.engines.cpu import open_cpu_engine
from runtime.engines.tuning import Tuning
from runtime.transports.protocol import Client

THREADED_BATCHES = (64, 256, 512, 1024)
"""Batches that are measured with several calls at once too."""

LARGEST_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Machine:
    """What was measured on."""

    cores: int
    model: str
    onnxruntime: str


@dataclass(frozen=True, slots=True)
class BenchReport:
    """Everything measured and what follows of it. ``threaded`` are several calls at once.

    ``tuning`` is what a daemon's own short trial chooses at its start, unless flags say otherwise.
    """

    bundle: str
    codec: str
    machine: Machine
    model: list[ModelCell]
    threaded: list[ModelCell]
    tuning: Tuning
    codecs: list[CodecFigures]
    stages: StageFigures
    transport: TransportFigures
    end_to_end: EndToEnd
    limit: Limit
    advice: list[Advice]

    @property
    def costs(self) -> dict[str, float]:
        """Microseconds a record by stage."""
        return stage_costs(self.stages, self.transport)

    def as_json(self) -> dict[str, object]:
        """Plain values, for a script."""
        return {**asdict(self), "costs_us": self.costs}


def run_bench(
    path: Path,
    broker: str | None,
    client: Client,
    codec: str,
    streams: int,
    records: int,
    tell: Callable[[str], object],
) -> BenchReport:
    """Measure the bundle at ``path``; ``tell`` hears what is being done.

    ``broker`` ``None``: the embedded broker in a temporary file. Raises `BundleError`, `EngineError`,
    `TransportError`, `MissingDependency`, `UsageError`.
    """
    bundle = open_bundle(path)
    make_decoder(codec, bundle.manifest)  # a codec that does not do is refused before anything is measured
    cores = available_cores()
    limits = Limits()
    tell(f"the model alone, batches to {LARGEST_BATCH}")
    wanted = shapes(has_time=bundle.manifest.has_time, most_steps=limits.steps)
    cells = model_alone(bundle, wanted, threads=1)
    threaded = []
    threads = 2
    while threads <= cores:
        threaded += model_alone(bundle, [(batch, 1) for batch in THREADED_BATCHES], threads=threads)
        threads *= 2
    tuning = open_cpu_engine(bundle, tuned=True).tuning
    tell("codecs and stages")
    names = [codec] if bundle.manifest.framing is not None else [name for name in DECODERS if name in ENCODERS]
    codecs = [codec_alone(bundle, name) for name in names]
    stage = stages(bundle, codec, streams=streams)
    tell(f"{records} records over {broker or 'the embedded broker'}, without the model and with it")
    with filled_place(broker, client, example_values(bundle, codec), records, streams) as place:
        transport = consume_and_produce(place, _answers(codec, codecs))
        whole = run_daemon(bundle.path, place, codec)
    limit = find_limit(stage, transport, cores)
    return BenchReport(
        bundle=str(path),
        codec=codec,
        machine=Machine(cores, _processor(), str(import_onnxruntime().__version__)),
        model=cells,
        threaded=threaded,
        tuning=tuning,
        codecs=codecs,
        stages=stage,
        transport=transport,
        end_to_end=whole,
        limit=limit,
        advice=advise(cells, threaded, limit, cores, LARGEST_BATCH),
    )


def _answers(codec: str, codecs: list[CodecFigures]) -> Callable[[RecordBatch], list[bytes | None]]:
    """Values as long as outputs are."""
    size = next(found.output_bytes for found in codecs if found.codec == codec)
    value = np.random.default_rng(0).bytes(max(1, round(size)))
    return lambda batch: [value] * len(batch)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
