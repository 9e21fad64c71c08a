"""One run: place, members, input; faults; then the verifier's verdict. Nothing that it started outlives it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.chaos.faults import SESSION_S, Transport, deck, draw
from tests.chaos.feed import Diet, Feeder
from tests.chaos.inject import Happened, Injector
from tests.chaos.members import Fleet, Member
from tests.chaos.network import why_no_network
from tests.chaos.places import DEAD, INPUT, OUTPUT, KafkaPlace, Place, SqlitePlace
from tests.chaos.report import Report
from tests.chaos.watch import Watcher

FIRST_OUTPUT_S = 90.0
CATCH_UP_S = 120.0
SERVE_S = 45.0
VERIFY_S = 900.0

KAFKA_TOML = f"""
[kafka]
"session.timeout.ms" = {int(SESSION_S * 1000)}
"heartbeat.interval.ms" = 1500
"""


@dataclass(frozen=True, slots=True)
class ChaosSettings:
    """A run. ``members``: 0 is one on SQLite, two on Kafka. ``logs``: keep the logs there."""

    transport: Transport = "confluent"
    nodes: int = 1
    members: int = 0
    seconds: float = 60.0
    faults: int = 15
    seed: int = 1
    rate: float = 400.0
    streams: int = 40
    network: bool = False
    quick: int = 1
    kinds: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()
    logs: Path | None = None


def run(settings: ChaosSettings, tell: Callable[[str], None] = lambda _: None) -> Report:
    """Do all of it. Raises `tests.kafka.broker.KafkaUnavailable` where there is no Kafka."""
    members = 1 if settings.transport == "sqlite" else settings.members or 2
    settings = replace(settings, members=members)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="edge-rnn-chaos-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if settings.logs is not None:
            stack.callback(_keep_logs, folder, settings.logs)
        return _run(settings, folder, stack, tell)


def _run(settings: ChaosSettings, folder: Path, stack: ExitStack, tell: Callable[[str], None]) -> Report:
    bundle = _make_bundle(folder)
    place: Place
    on_kafka = settings.transport != "sqlite"
    if on_kafka:
        place = KafkaPlace(settings.nodes, settings.members + 1, network=settings.network)
    else:
        place = SqlitePlace(folder, settings.seconds)
    stack.callback(place.close)
    disk = isinstance(place, SqlitePlace) and place.mounted
    kinds = deck(settings.transport, settings.nodes, network=settings.network, disk=disk, quick=settings.quick)
    if settings.kinds:
        kinds = [kind for kind in kinds if kind.partition(":")[0] in settings.kinds]
    planned = draw(settings.seed, settings.faults, kinds, settings.members, settings.nodes)

    began = time.monotonic()
    fleet = Fleet(began)
    stack.callback(fleet.close)
    base = [_member(settings, place, folder, bundle, number) for number in range(settings.members)]
    guest = _member(settings, place, folder, bundle, settings.members, "--leave") if on_kafka else None
    fleet.members = [*base, *([guest] if guest else [])]
    watcher = place.watcher()
    stack.callback(watcher.close)
    feeder = Feeder(place.sink(), Diet(settings.seed, settings.streams), settings.rate)
    stack.callback(feeder.stop)
    for member in base:
        member.start()
    feeder.start()
    trouble: list[str] = []
    if not fleet.wait(lambda: watcher.alive_since(began), FIRST_OUTPUT_S):
        trouble.append(f"no outputs of every partition within {FIRST_OUTPUT_S:g} s: {base[0].message()}")
    fed_from = time.monotonic()
    until = fed_from + settings.seconds
    happened: list[Happened] = []
    injector = Injector(fleet, base, guest, place, watcher)
    for fault in planned if not trouble else ():
        if time.monotonic() > until:
            break
        happened.append(injector.inject(fault))
        tell(_told(happened[-1]))
    fleet.pass_time(max(0.0, until - time.monotonic()) if not trouble else 0.0)
    fed_until = time.monotonic()
    tell("input ends")
    feeder.finish()
    trouble += _catch_up(settings, place, fleet, watcher)
    gap_s = watcher.longest_gap_s(fed_from, fed_until)
    trouble += _all_serve(fleet, base)
    for member in fleet.members:
        if member.wanted and (status := member.stop()) != 0:
            trouble.append(f"{member.name} ended by SIGTERM with status {status}: {member.message()}")
    tell("verifying")
    verdict = _verify(place, bundle, trouble)
    return Report(
        settings={**asdict(settings), "kinds": list(settings.kinds), "logs": str(settings.logs or "")},
        happened=happened,
        verdict=verdict,
        exits=fleet.exits,
        restarts=fleet.restarts,
        longest_gap_s=gap_s,
        fed_s=fed_until - fed_from,
        trouble=trouble,
        points=fleet.points,
    )


def _make_bundle(folder: Path) -> Path:
    """Two layers of LSTM, 3 features, 2 outputs; made in a process of its own, which takes PyTorch away with it."""
    path = folder / "bundle"
    code = f"from pathlib import Path; from tests.models_for_tests import make_bundle; make_bundle(Path({str(path)!r}), layers=2)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return path


def _member(settings: ChaosSettings, place: Place, folder: Path, bundle: Path, number: int, *more: str) -> Member:
    name = f"member-{number}"
    config = folder / "kafka.toml"
    more_lines = (f'"{name}" = "{value}"\n' for name, _, value in (word.partition("=") for word in settings.properties))
    config.write_text(KAFKA_TOML + "".join(more_lines) if settings.transport != "sqlite" else "")
    return Member(
        name,
        [
            str(bundle),
            *("--input", INPUT, "--output", OUTPUT, "--dead-letter", DEAD, "--codec", "f32", "--group", "chaos"),
            *("--broker", place.url, "--instance", name, "--state-dir", str(folder / name), "--config", str(config)),
            *(("--client", settings.transport) if settings.transport != "sqlite" else ()),
            *settings.arguments,
            *more,
        ],
        folder,
        place.prefix(number),
        _varied(),
        random.Random(settings.seed * 1000 + number),
    )


def _varied() -> Callable[[random.Random], list[str]]:
    """Settings that may differ from life to life without a difference to the outputs."""
    from runtime.daemon.settings import RunSettings

    snapshots = "snapshot_interval" in RunSettings.__struct_fields__

    def varied(rng: random.Random) -> list[str]:
        words = ["--commit-interval", rng.choice(["20ms", "100ms"]), "--max-records", rng.choice(["50", "4096"])]
        interval = rng.choice(["0s", "500ms", "3s", "30s"])
        return [*words, "--snapshot-interval", interval] if snapshots else words

    return varied


def _catch_up(settings: ChaosSettings, place: Place, fleet: Fleet, watcher: Watcher) -> list[str]:
    """Wait until there are outputs for all that the input holds, or none have come for long.

    It may hold less than was fed: the feeder's broker is killed too.
    """
    from tests.chaos.records import readable

    wanted = sum(record.value is not None and readable(record.value) for record in place.read(INPUT))
    seen, since = watcher.count, time.monotonic()

    def done() -> bool:
        nonlocal seen, since
        if watcher.count > seen:
            seen, since = watcher.count, time.monotonic()
        return watcher.count >= wanted or time.monotonic() - since > CATCH_UP_S

    fleet.wait(done, CATCH_UP_S + settings.seconds)
    if watcher.error is not None:
        return [f"the watcher failed: {watcher.error!r}"]
    if watcher.count < wanted:
        return [f"{watcher.count} outputs of {wanted}, and none for {time.monotonic() - since:.0f} s"]
    return []


def _all_serve(fleet: Fleet, base: Sequence[Member]) -> list[str]:
    """Every member must have come back by itself; of one that hangs the log tells where."""
    if fleet.wait(lambda: all(member.ready() and member.partitions() for member in base), SERVE_S):
        return []
    idle = [member for member in base if not member.partitions()]
    for member in base:  # the one that hangs may not be the one that waits
        member.dump()
    return [
        f"{member.name} serves no partition after {SERVE_S:g} s without a fault, see {member.log.name} and the others'"
        for member in idle
    ]


def _verify(place: Place, bundle: Path, trouble: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.chaos.verifier", "--bundle", str(bundle)]
    topics = ["--input", INPUT, "--output", OUTPUT, "--dead", DEAD]
    done = subprocess.run(
        [*command, *topics, *place.verifier], capture_output=True, text=True, check=False, timeout=VERIFY_S
    )
    if done.returncode not in {0, 1} or not done.stdout.strip():
        trouble.append(f"the verifier failed: {done.stderr.strip()[-1000:]}")
        return {}
    return dict(json.loads(done.stdout))


def _told(happened: Happened) -> str:
    kinds = ", ".join(happened.kinds) or f"{happened.fault.kind} did not happen"
    after = "" if happened.recovered_s is None else f", recovered in {happened.recovered_s:.1f} s"
    return f"{happened.at_s:7.1f} s  {kinds}{after}  {happened.note}"


def _keep_logs(folder: Path, logs: Path) -> None:
    logs.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        shutil.copy(log, logs)


def network_or_reason(wanted: bool) -> tuple[bool, str | None]:
    """Whether network namespaces are used, and why not where they were wanted."""
    reason = why_no_network() if wanted else None
    return wanted and reason is None, reason


def arguments_of(words: Sequence[str]) -> tuple[str, ...]:
    """Arguments for every daemon, as given in one string each: ``--daemon-argument='--snapshot-interval 1s'``."""
    return tuple(word for group in words for word in group.split())
