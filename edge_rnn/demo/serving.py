"""The middle of the demo: the daemon serves live streams, is killed, starts again, and is stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.demo.feed import Feeder, Plan
from edge_rnn.demo.folder import DemoFolder
from edge_rnn.demo.narrator import Narrator
from edge_rnn.demo.result import Served
from edge_rnn.demo.service import Service
from edge_rnn.demo.settings import PARTITIONS, DemoSettings, Place, run_command, shown
from edge_rnn.demo.timeline import Moments
from edge_rnn.demo.watch import Watcher
from runtime.transports.connect import open_broker
from runtime.transports.protocol import Broker

LOOK_EVERY_S = 0.05
STARTUP_S = 20.0
"""How long the broker may take to answer."""

PATIENCE_S = 30.0
"""How long no output may come before what is missing counts as lost."""


def make_topics(place: Place) -> None:
    """Make the input and the output topic. Raises `BrokerUnreachable` before minutes of work, not after."""
    broker = open_broker(place.broker, place.client, STARTUP_S)
    try:
        broker.create_topic(place.input, PARTITIONS)
        broker.create_topic(place.output, PARTITIONS)
    finally:
        broker.close()


def serve(place: Place, folder: DemoFolder, plan: Plan, settings: DemoSettings, narrator: Narrator) -> Served:
    """Feed the plan to a daemon that is killed when half of it is in, and see everything that comes out."""
    command = run_command(place, folder.bundle, folder.state)
    with ExitStack() as stack:
        narrator.step(f"run it as a daemon on {place.kind}", shown(command))
        daemon = stack.enter_context(closing(Service(command, folder.log)))
        daemon.wait_ready(PARTITIONS)
        port = next((entry["port"] for entry in daemon.events("observing")), None)
        narrator.say(f"process {daemon.pid} serves {PARTITIONS} partitions; metrics at http://127.0.0.1:{port}/metrics")

        seconds = len(plan) / settings.records_per_s
        narrator.step(f"feed {len(plan.keys)} live streams, {settings.records_per_s:.0f} records/s for {seconds:.0f} s")
        began_s = time.monotonic()
        watcher = Watcher(place.output, began_s, _connect(place))
        feeder = Feeder(plan, place.input, settings.records_per_s, began_s, _connect(place))
        for worker in (watcher, feeder):
            stack.callback(worker.stop)
            worker.start()

        def wait_until(condition: Callable[[], bool], life: Service) -> None:
            while not condition():
                for worker in (watcher, feeder):
                    worker.check()
                life.check()
                narrator.live(_progress(len(feeder.sent), len(watcher.seen), len(plan)))
                time.sleep(LOOK_EVERY_S)

        wait_until(lambda: 2 * len(feeder.sent) >= len(plan) and len(watcher.seen) > 0, daemon)
        daemon.kill()
        killed_s = time.monotonic() - began_s
        narrator.say(f"SIGKILL to process {daemon.pid} after {len(feeder.sent):,} records; the feed goes on")
        watcher.look_again()  # what the first process committed is seen before the second one begins
        restarted_s = time.monotonic() - began_s
        again = stack.enter_context(closing(Service(command, folder.log)))
        restored = again.wait_ready(PARTITIONS)
        ready_s = time.monotonic() - began_s
        moments = Moments(killed_s, restarted_s, ready_s, restored)
        before = sum(at_s < restarted_s for at_s in watcher.seen.at_s)
        quiet = _Patience(watcher)
        wait_until(lambda: len(watcher.seen) > before or quiet.is_over(), again)
        if len(watcher.seen) > before:
            gap_s = watcher.seen.at_s[before] - killed_s
            narrator.say(
                f"started again: {restored} streams have their state, first output {gap_s:.1f} s after the kill"
            )

        wait_until(lambda: feeder.is_done, again)
        quiet = _Patience(watcher)
        wait_until(lambda: len(watcher.seen) >= len(plan) or quiet.is_over(), again)
        look_s = watcher.look_s
        status = again.stop()
        watcher.look_again()  # what comes late counts too
        watcher.stop()
        narrator.say(f"{len(feeder.sent):,} records in, {len(watcher.seen):,} outputs; SIGTERM: exit status {status}")
    if status != 0:
        raise EdgeRnnError(f"the daemon ended with status {status} on SIGTERM, expected 0; see {folder.log}")
    return Served(feeder.sent, watcher.seen, moments, look_s, status)


class _Patience:
    """Over when no output has come for `PATIENCE_S`."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._count = -1
        self._since_s = 0.0

    def is_over(self) -> bool:
        """Look, and say whether it has been too long."""
        count = len(self._watcher.seen)
        if count != self._count:
            self._count, self._since_s = count, time.monotonic()
        return time.monotonic() - self._since_s > PATIENCE_S


def _connect(place: Place) -> Callable[[], Broker]:
    return lambda: open_broker(place.broker, place.client)


def _progress(sent: int, seen: int, total: int) -> str:
    width = 24
    bar = "#" * (width * sent // max(1, total))
    return f"[{bar:<{width}}]  in {sent:,}  out {seen:,}  waiting {max(0, sent - seen):,}"
