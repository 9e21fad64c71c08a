"""What one record costs inside the process: decode, streams, states, model, encode."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.bundle import Bundle
from runtime.codecs.protocol import Decoded
from runtime.codecs.registry import ENCODERS, make_decoder, make_encoder
from runtime.core.batch import RecordBatch
from runtime.core.column import Cells, as_column, lengths_of
from runtime.core.processor import Processor, ProcessorSettings
from runtime.core.scheduler import Limits
from runtime.daemon.audio import make_sound
from runtime.daemon.measure.examples import VALUES, example_values
from runtime.daemon.measure.timing import time_calls
from runtime.engines.cpu import CpuEngine, open_cpu_engine

PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class CodecFigures:
    """Microseconds a record of one row, ``records`` at a time; bytes of an input and an output value."""

    codec: str
    records: int
    decode_us: float
    encode_us: float
    value_bytes: float
    output_bytes: float


@dataclass(frozen=True, slots=True)
class StageFigures:
    """Microseconds of processor time a record of one step, with ``records`` of ``streams`` streams applied at a time.

    ``model_us`` holds the calls of the engine, in which states are gathered and scattered, ``moving_us`` that part of
    it which is not the graph; ``streams_us`` all between: slots, plan, rows, columns of the outputs.
    """

    streams: int
    records: int
    decode_us: float
    streams_us: float
    model_us: float
    moving_us: float
    encode_us: float

    @property
    def total_us(self) -> float:
        """All of it."""
        return self.decode_us + self.streams_us + self.model_us + self.encode_us


def codec_alone(bundle: Bundle, codec: str, records: int = 1024, seconds: float = 0.15) -> CodecFigures:
    """Decode inputs and encode outputs of one row each."""
    manifest = bundle.manifest
    values = as_column(example_values(bundle, codec, records))
    decoder, encoder = make_decoder(codec, manifest), make_encoder(_encoder_of(codec), manifest)
    generator = np.random.default_rng(0)
    outputs = [generator.standard_normal((records, *spec.row_shape)).astype(spec.dtype) for spec in manifest.outputs]
    starts, lengths = np.arange(records), np.ones(records, np.int64)
    decode = time_calls(lambda: decoder.decode(values), seconds)
    encode = time_calls(lambda: encoder.encode(outputs, starts, lengths), seconds)
    encoded = encoder.encode(outputs, starts, lengths)
    return CodecFigures(
        codec,
        records,
        1e6 * decode.cpu_s / records,
        1e6 * encode.cpu_s / records,
        int(values.lengths.sum()) / records,
        int(lengths_of(encoded).sum()) / records,
    )


def _encoder_of(codec: str) -> str:
    """How a daemon writes outputs, unless it is told."""
    return codec if codec in ENCODERS else "json"


class _Timed:
    """Processor seconds spent inside, summed: what else runs on the machine does not count."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    def _add(self, began: float) -> None:
        self.spent_s += time.process_time() - began


class _TimedDecoder(_Timed):
    def __init__(self, codec: str, bundle: Bundle) -> None:
        super().__init__()
        self._inner = make_decoder(codec, bundle.manifest)
        self.name = self._inner.name

    def decode(self, values: Cells) -> Decoded:
        began = time.process_time()
        decoded = self._inner.decode(values)
        self._add(began)
        return decoded


class _TimedEncoder(_Timed):
    def __init__(self, codec: str, bundle: Bundle) -> None:
        super().__init__()
        self._inner = make_encoder(_encoder_of(codec), bundle.manifest)
        self.name = self._inner.name

    def encode(self, outputs: Sequence[np.ndarray], starts: np.ndarray, lengths: np.ndarray) -> Cells:
        began = time.process_time()
        values = self._inner.encode(outputs, starts, lengths)
        self._add(began)
        return values


class _TimedStep(_Timed):
    """Stands between an engine and its graph."""

    def __init__(self, engine: CpuEngine) -> None:
        super().__init__()
        self._inner = engine.step

    def __call__(
        self, inputs: Sequence[np.ndarray], states: Sequence[np.ndarray], /
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        began = time.process_time()
        results = self._inner(inputs, states)
        self._add(began)
        return results


class _TimedEngine(_Timed):
    def __init__(self, inner: CpuEngine) -> None:
        super().__init__()
        self.manifest = inner.manifest
        self._run = inner.run
        self.grow, self.reset, self.works = inner.grow, inner.reset, inner.works
        self.read, self.write = inner.read, inner.write

    def run(self, slots: np.ndarray, inputs: Sequence[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
        began = time.process_time()
        results = self._run(slots, inputs)
        self._add(began)
        return results


def stages(
    bundle: Bundle,
    codec: str,
    *,
    streams: int,
    records: int = 2048,
    seconds: float = 1.0,
    limits: Limits | None = None,
) -> StageFigures:
    """Apply batches of ``records`` drawn evenly from ``streams`` streams, which all have a state, for ``seconds``.

    Raises `EngineError`.
    """
    engine = open_cpu_engine(bundle, tuned=True, threads=1)
    graph = _TimedStep(engine)
    engine.step = graph  # type: ignore[assignment]  # called alike
    timed, decoder, encoder = _TimedEngine(engine), _TimedDecoder(codec, bundle), _TimedEncoder(codec, bundle)
    settings = ProcessorSettings(topic="bench", limits=engine.tuning.bound(limits or Limits()))
    sound = make_sound(bundle.manifest, None, "every", _encoder_of(codec))
    processor = Processor(timed, decoder, encoder, settings, sound=sound)
    values, generator = example_values(bundle, codec), np.random.default_rng(0)
    offset = _touch_all(processor, values, streams)
    parts = (graph, timed, decoder, encoder)
    before = [part.spent_s for part in parts]
    total_s, applied, end = 0.0, 0, time.monotonic() + seconds
    while applied < 2 * records or time.monotonic() < end:
        batch = _batch(generator.integers(0, streams, records), values, offset)
        offset += records
        began = time.process_time()
        processor.process(batch, time.monotonic())
        total_s += time.process_time() - began
        applied += records
    graph_s, model_s, decode_s, encode_s = (part.spent_s - then for part, then in zip(parts, before, strict=True))
    each = 1e6 / applied
    return StageFigures(
        streams=streams,
        records=records,
        decode_us=decode_s * each,
        streams_us=(total_s - model_s - decode_s - encode_s) * each,
        model_us=model_s * each,
        moving_us=(model_s - graph_s) * each,
        encode_us=encode_s * each,
    )


def _touch_all(processor: Processor, values: list[bytes], streams: int) -> int:
    for begin in range(0, streams, VALUES):
        numbers = np.arange(begin, min(begin + VALUES, streams))
        processor.process(_batch(numbers, values, begin), 0.0)
    return streams


def _batch(numbers: np.ndarray, values: list[bytes], offset: int) -> RecordBatch:
    """One record for each stream number, grouped by partition as a poll gives them."""
    ordered = numbers[np.argsort(numbers % PARTITIONS, kind="stable")]
    n = ordered.size
    return RecordBatch(
        partitions=(ordered % PARTITIONS).astype(np.int32),
        offsets=np.arange(offset, offset + n),
        timestamps=np.full(n, -1, np.int64),
        keys=[b"s%07d" % number for number in ordered.tolist()],
        values=as_column([values[index % VALUES] for index in range(n)]),
        positions={},
    )
