"""Replay: files through the same core as the daemon's, without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from edge_rnn.contract.bundle import open_bundle
from edge_rnn.contract.errors import RecordError
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.processor import Processor, ProcessorSettings
from runtime.core.scheduler import Limits
from runtime.daemon.audio import make_sound
from runtime.engines.cpu import open_cpu_engine
from runtime.transports.files import read_batches

CODEC = "json"


def replay(
    bundle_path: Path,
    source: Path,
    *,
    batch_records: int = 4096,
    max_chunk: int = 256,
    emit: str = "every",
    input_rate: int | None = None,
    resample: bool = False,
) -> Iterator[list[bytes]]:
    """Take a file's rows, or its sound, through a bundle; yields the output lines of each batch, in input order.

    Sound at another rate than the model's is brought to it as a live stream's would be where
    ``input_rate`` says its rate, or as a whole, by soxr, where ``resample``.

    A line is ``{"key": ..., "output": ...}``: the key, then the bytes that the daemon would write
    with ``--output-codec json``. Raises `RecordError` naming the record that cannot be used.
    """
    bundle = open_bundle(bundle_path)
    manifest = bundle.manifest
    codec = CODEC if manifest.framing is None else "pcm16"
    rate = input_rate or (manifest.framing.rate if manifest.framing else 0)
    batches = read_batches(
        source, codec, manifest.feature_names, batch_records, rate=rate, resample=resample and input_rate is None
    )
    engine = open_cpu_engine(bundle)
    processor = Processor(
        engine,
        make_decoder(codec, manifest),
        make_encoder(CODEC, manifest),
        ProcessorSettings(topic=str(source), limits=engine.tuning.bound(Limits(chunk=max_chunk))),
        sound=make_sound(manifest, input_rate, emit, CODEC),
    )
    for batch in batches:
        processed = processor.process(batch)
        if processed.errors:
            origin = dict((processed.dead_letters.headers or [[]])[0])
            number = int(origin["edge-rnn-offset"]) + 1
            raise RecordError(f"{source}: record {number} cannot be used: {processed.errors[0]}")
        keys, values = processed.outputs.keys, processed.outputs.values
        yield [_line(key, value) for key, value in zip(keys, values, strict=True)]


def _line(key: bytes | None, value: bytes | None) -> bytes:
    name = orjson.dumps((key or b"").decode("utf-8", "backslashreplace"))
    return b'{"key":' + name + b"," + (value or b"{}")[1:] + b"\n"
