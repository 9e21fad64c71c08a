"""A bundle and settings put together: the engine, the core, and a daemon around them for each transport it serves."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.fingerprint import state_fingerprint
from runtime.checkpoint.checkpoint import Checkpoint
from runtime.checkpoint.recovered import Standing
from runtime.checkpoint.recovery import Recovery
from runtime.checkpoint.takeover import Takeover
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.generating import GeneratingProcessor
from runtime.core.processor import Processor, ProcessorSettings
from runtime.core.scheduler import Limits
from runtime.daemon.audio import make_sound
from runtime.daemon.daemon import Daemon, LoopSettings
from runtime.daemon.engine import chosen_engine
from runtime.daemon.fail_points import fail_points
from runtime.daemon.generate import generator_on
from runtime.daemon.settings import RunSettings
from runtime.observe.metrics import Metrics
from runtime.observe.timed_engine import timed
from runtime.transports.protocol import MemberSettings, Transport

RECORD_BYTES = 1_000_000
"""The least default of the clients' and the brokers' limits of one record."""

FRAME_BYTES = 1024
"""Room in a record for what is neither key nor value."""


class Model:
    """An opened bundle with the states of its streams; at most one daemon has it at a time."""

    def __init__(self, bundle: Bundle, settings: RunSettings, limits: Limits, metrics: Metrics) -> None:
        """Open the engine, which repeats the golden vectors.

        Raises `EngineError`, `GateFailed`, `MissingDependency`, `UsageError`.
        """
        engine = chosen_engine(bundle, settings, metrics)
        manifest = bundle.manifest
        decoder = make_decoder(settings.codec, manifest)
        encoder = make_encoder(settings.encoder, manifest)
        fingerprint = self._fingerprint = state_fingerprint(manifest, settings.replay_settings)
        measured = timed(engine, metrics)
        limits = engine.tuning.bound(limits)
        processing = ProcessorSettings(
            topic=settings.input,
            model=f"{manifest.name}@{fingerprint.hex()}",
            headers=settings.header_mode,
            null_key=settings.null_key,
            idle_reset_ms=settings.idle_reset_ms,
            max_output_bytes=_max_output_bytes(settings),
            limits=limits,
            threads=engine.tuning.threads,
            evicts=settings.max_streams is not None,
        )
        self._metrics = metrics
        self._passing = fail_points()
        if settings.mode == "generate":
            generator = generator_on(measured, bundle, threads=engine.tuning.threads, limits=limits)
            self._processor: Processor = GeneratingProcessor(measured, generator, decoder, encoder, processing)
        else:
            others = ThreadPoolExecutor(processing.threads - 1, "edge-rnn-call") if processing.threads > 1 else None
            sound = make_sound(manifest, settings.input_rate, settings.emit, settings.encoder)
            self._processor = Processor(measured, decoder, encoder, processing, others, sound)

    def daemon(
        self,
        transport: Transport,
        settings: RunSettings,
        loop: LoopSettings,
        standing: Mapping[int, Standing] | None = None,
    ) -> Daemon:
        """A daemon on this transport.

        ``standing``: where a shadow's daemon, which has ended, left the states, to go on with. What was evicted
        beside a limit of streams is written nowhere, so with one the states are brought back instead.
        """
        processor, fingerprint, size = self._processor, self._fingerprint, self._processor.state_bytes
        recovery = Recovery(processor, transport, fingerprint, settings.recovery, size)
        taken_over: dict[int, Standing] = {}
        if standing is not None:
            taken_over.update(standing if settings.max_streams is None else {})
            recovery = Takeover(processor, transport, fingerprint, settings.recovery, size, taken_over)
        checkpoint = Checkpoint(
            *(processor, transport, fingerprint, settings.snapshots, size, self._passing, settings.delivery),
            taken_over=taken_over,
        )
        return Daemon(transport, processor, checkpoint, recovery, loop, self._metrics, self._passing)


def member_settings(settings: RunSettings, group: str, instance: str) -> MemberSettings:
    """What a member of this group needs to know."""
    return MemberSettings(
        broker=settings.broker,
        group=group,
        input=settings.input,
        output=settings.output,
        instance=instance,
        dead_letter=settings.dead_letter,
        create_topics=settings.create_topics,
        client=settings.client,
        startup_timeout_s=settings.startup_timeout_s,
        properties=settings.kafka,
        replays=settings.replays,
        follows_growth=settings.on_moved_offsets == "reset",
        delivery=settings.delivery,
    )


def _max_output_bytes(settings: RunSettings) -> int | None:
    """What a Kafka client takes as one record, less room for its frame and headers; the embedded broker takes any."""
    if settings.broker.startswith("sqlite:"):
        return None
    given = [settings.kafka.get(name) for name in ("message.max.bytes", "max.request.size")]
    return next((size for size in given if isinstance(size, int)), RECORD_BYTES) - FRAME_BYTES
