"""A daemon's life, from a bundle and settings to a clean end: open, check, serve, drain, stop."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_rnn.contract.bundle import Bundle, open_bundle
from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.fingerprint import state_fingerprint
from runtime.checkpoint.checkpoint import Checkpoint
from runtime.checkpoint.recovery import Recovery
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.generating import GeneratingProcessor
from runtime.core.processor import Processor, ProcessorSettings
from runtime.core.scheduler import Limits
from runtime.daemon.audio import make_sound
from runtime.daemon.daemon import Daemon, LoopSettings
from runtime.daemon.engine import chosen_engine
from runtime.daemon.fail_points import fail_points
from runtime.daemon.generate import check_settings, generator_on
from runtime.daemon.heap import share_heap
from runtime.daemon.instance import InstanceName
from runtime.daemon.settings import RunSettings, default_state_dir
from runtime.daemon.shadow import Report, ShadowReport, open_shadow
from runtime.daemon.watchdog import Watchdog
from runtime.observe.http import ObserveServer
from runtime.observe.metrics import Metrics
from runtime.observe.timed_engine import TimedEngine
from runtime.transports.connect import open_transport
from runtime.transports.protocol import MemberSettings, Transport

log = logging.getLogger("edge_rnn.daemon")

RECORD_BYTES = 1_000_000
"""The least default of the clients' and the brokers' limits of one record."""

FRAME_BYTES = 1024
"""Room in a record for what is neither key nor value."""

STUCK_S = 120.0
"""A loop that has not turned for this long is reported unhealthy."""

MAX_POLL_INTERVAL_MS = 300_000
"""Kafka's default: a member that has not polled for so long has left its group."""


def serve(bundle_path: Path, settings: RunSettings) -> Report | None:
    """Run a bundle as a daemon until SIGTERM or SIGINT, then drain, commit and return; a shadow returns its report.

    Raises the contract's errors: `UsageError`, `BundleError`, `GateFailed`, `TransportError`,
    `StateError`, `EngineError`.
    """
    began = time.monotonic()
    share_heap()
    limits = _limits(settings)
    loop = _loop(settings)
    bundle = open_bundle(bundle_path)
    if settings.shadow is not None and settings.group is not None:
        raise UsageError("--group and --shadow are both given; a shadow is of no group but the one it shadows")
    group = settings.shadow or settings.group or bundle.manifest.name
    with ExitStack() as stack:
        stop = stack.enter_context(_stopped_by_signals())
        metrics = Metrics()
        transport: Transport
        report: ShadowReport | None = None
        if settings.shadow is not None:
            instance = "shadow"
            transport = shadow = open_shadow(settings, _member(settings, group, instance), bundle.manifest)
            report = ShadowReport(shadow, group, bundle.manifest.name, metrics)
        else:
            instance = settings.instance or stack.enter_context(_instance_name(settings, group)).name
            transport = open_transport(_member(settings, group, instance))
        daemon = _assemble(bundle, settings, limits, loop, transport, metrics)
        if settings.http is not None:
            server = ObserveServer(
                settings.http,
                metrics,
                healthy=lambda: None if time.monotonic() - daemon.beat < STUCK_S else "the loop is stuck",
                ready=lambda: daemon.unready,
                report=report,
            )
            stack.callback(server.close)
            log.info("observing", extra={"port": server.port})
        limit_ms = settings.kafka.get("max.poll.interval.ms", MAX_POLL_INTERVAL_MS)
        watchdog = Watchdog(lambda: daemon.beat, float(str(limit_ms)) / 1000)
        stack.callback(watchdog.stop)
        log.info(
            "starting",
            extra={
                "bundle": str(bundle.path),
                "group": group,
                "instance": instance,
                "input": settings.input,
                "output": settings.output,
                "seconds": round(time.monotonic() - began, 3),
            },
        )
        sys.setswitchinterval(SWITCH_S)
        daemon.run(stop)
        log.info("stopped")
        return None if report is None else report()


SWITCH_S = 0.0005
"""A thread that needs Python's lock gets it within so long: a record must not wait for others' 5 ms."""


def _instance_name(settings: RunSettings, group: str) -> InstanceName:
    return InstanceName(Path(settings.state_dir) if settings.state_dir else default_state_dir(), group)


def _assemble(
    bundle: Bundle, settings: RunSettings, limits: Limits, loop: LoopSettings, transport: Transport, metrics: Metrics
) -> Daemon:
    engine = chosen_engine(bundle, settings, metrics)
    manifest = bundle.manifest
    decoder = make_decoder(settings.codec, manifest)
    encoder = make_encoder(settings.encoder, manifest)
    fingerprint = state_fingerprint(manifest, settings.replay_settings)
    timed = TimedEngine(engine, metrics)
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
    if settings.mode == "generate":
        generator = generator_on(timed, bundle, threads=engine.tuning.threads, limits=limits)
        processor: Processor = GeneratingProcessor(timed, generator, decoder, encoder, processing)
    else:
        others = ThreadPoolExecutor(processing.threads - 1, "edge-rnn-call") if processing.threads > 1 else None
        sound = make_sound(manifest, settings.input_rate, settings.emit, settings.encoder)
        processor = Processor(timed, decoder, encoder, processing, others, sound)
    passing = fail_points()
    checkpoint = Checkpoint(
        processor, transport, fingerprint, settings.snapshots, processor.state_bytes, passing, settings.delivery
    )
    recovery = Recovery(processor, transport, fingerprint, settings.recovery, processor.state_bytes)
    return Daemon(transport, processor, checkpoint, recovery, loop, metrics, passing)


def _member(settings: RunSettings, group: str, instance: str) -> MemberSettings:
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


def _limits(settings: RunSettings) -> Limits:
    try:
        return Limits(chunk=settings.max_chunk)
    except ValueError:
        raise UsageError(
            f"--max-chunk is {settings.max_chunk}, expected a power of two up to {Limits().steps}"
        ) from None


def _loop(settings: RunSettings) -> LoopSettings:
    if settings.mode == "generate":
        check_settings(settings)
    if settings.threads is not None and settings.threads < 1:
        raise UsageError(f"--threads is {settings.threads}, expected at least 1")
    if settings.startup_timeout_s <= 0:
        raise UsageError(f"--startup-timeout is {settings.startup_timeout!r}, expected more than 0")
    if settings.max_records < 1:
        raise UsageError(f"--max-records is {settings.max_records}, expected at least 1")
    if settings.max_streams is not None and settings.max_streams < 1:
        raise UsageError(f"--max-streams is {settings.max_streams}, expected at least 1")
    return LoopSettings(
        commit_interval_s=settings.commit_interval_s,
        max_records=settings.max_records,
        background_records=settings.background_records if settings.mode == "step" else sys.maxsize,
        max_replay_records=settings.max_replay if settings.shadow is None else sys.maxsize,
        max_streams=settings.max_streams,
        leave=settings.leave,
        dead_letters=settings.dead_letter is not None or settings.shadow is not None,
    )


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; the handlers there before are put back afterwards."""
    stop = threading.Event()

    def on_signal(number: int, _frame: object) -> None:
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
