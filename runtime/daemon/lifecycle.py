"""A daemon's life, from a bundle and settings to a clean end: open, check, serve, drain, stop.

A shadow that is promoted serves twice: as a shadow, then with the same model and states as a member (`promotion`).
"""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edge_rnn.contract.bundle import open_bundle
from edge_rnn.contract.errors import UsageError
from runtime.core.scheduler import Limits
from runtime.daemon.assembly import Model, member_settings
from runtime.daemon.daemon import LoopSettings
from runtime.daemon.generate import check_settings
from runtime.daemon.heap import share_heap, trim_heap
from runtime.daemon.instance import InstanceName
from runtime.daemon.promotion import Promotion, Successor, claim_instance
from runtime.daemon.settings import RunSettings, default_state_dir
from runtime.daemon.shadow import Report, ShadowReport, open_shadow
from runtime.daemon.watchdog import Watchdog
from runtime.observe.http import ObserveServer
from runtime.observe.metrics import Metrics
from runtime.transports.connect import open_transport
from runtime.transports.protocol import Transport

log = logging.getLogger("edge_rnn.daemon")

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
        stop, over = threading.Event(), threading.Event()
        stack.enter_context(_stopped_by_signals(stop, over))
        metrics = Metrics()
        transport: Transport
        report: ShadowReport | None = None
        promotion: Promotion | None = None
        successor: Successor | None = None
        if settings.shadow is not None:
            instance = "shadow"
            transport = shadow = open_shadow(settings, member_settings(settings, group, instance), bundle.manifest)
            report = ShadowReport(shadow, group, bundle.manifest.name, metrics)
            successor = Successor(settings.promoted, group)
            stack.callback(successor.close)
            promotion = Promotion(
                lambda: claim_instance(settings, group, stack), lambda: daemon.unready, over=over, stop=stop
            )
        else:
            instance = settings.instance or stack.enter_context(_instance_name(settings, group)).name
            transport = open_transport(member_settings(settings, group, instance))
        model = Model(bundle, settings, limits, metrics)
        trim_heap()
        daemon = model.daemon(transport, settings, loop)
        if settings.http is not None:
            server = ObserveServer(
                settings.http,
                metrics,
                healthy=lambda: None if time.monotonic() - daemon.beat < STUCK_S else "the loop is stuck",
                ready=lambda: daemon.unready,
                report=report,
                posts={}
                if promotion is None or successor is None
                else {"/promote": promotion.ask, "/promote/prepare": successor.prepare},
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
        if promotion is not None:
            stack.enter_context(promotion.watched())
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()  # what is here by now stays: a look through all of it takes 17 ms
        daemon.run(over)
        if successor is not None and promotion is not None and promotion.instance is not None and not stop.is_set():
            member = settings.promoted
            transport = successor.transport(promotion.instance)
            daemon = model.daemon(transport, member, _loop(member), daemon.standing)
            promotion.joining()
            daemon.run(stop)
        log.info("stopped")
        return None if report is None else report()


SWITCH_S = 0.0005
"""A thread that needs Python's lock gets it within so long: a record must not wait for others' 5 ms."""


def _instance_name(settings: RunSettings, group: str) -> InstanceName:
    return InstanceName(Path(settings.state_dir) if settings.state_dir else default_state_dir(), group)


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
def _stopped_by_signals(*stops: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set these events; the handlers there before are put back afterwards."""

    def on_signal(number: int, _frame: object) -> None:
        log.info("stopping", extra={"signal": signal.Signals(number).name})
        for stop in stops:
            stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
