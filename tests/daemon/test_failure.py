"""Every failure takes one path: the epoch is dropped, partitions recover, and outputs stay exactly once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import CommitAborted, EngineError, StateError
from edge_rnn.contract.fingerprint import state_fingerprint
from runtime.checkpoint.checkpoint import Checkpoint
from runtime.checkpoint.policy import RecoveryPolicy, SnapshotPolicy
from runtime.checkpoint.recovery import Recovery
from runtime.codecs.registry import make_decoder, make_encoder
from runtime.core.processor import Processor, ProcessorSettings
from runtime.daemon import daemon as daemon_module
from runtime.daemon.daemon import Daemon, LoopSettings
from runtime.engines.cpu import open_cpu_engine
from runtime.observe.metrics import Metrics
from runtime.transports.connect import open_transport
from runtime.transports.protocol import MemberSettings
from tests.daemon.conftest import Place
from tests.daemon.processes import wait_for
from tests.models_for_tests import make_bundle
from tests.oracle import Oracle


class Faulty:
    """Passes every call on to ``inner`` but for those that ``fail`` wants to raise on."""

    def __init__(self, inner: Any, fail: Callable[[str, int], Exception | None]) -> None:
        self._inner = inner
        self._fail = fail
        self._counts: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            self._counts[name] = self._counts.get(name, 0) + 1
            error = self._fail(name, self._counts[name])
            if error is not None:
                if name == "works":
                    return False
                raise error
            return value(*arguments, **named)

        return call


def never(name: str, count: int) -> Exception | None:
    return None


class Running:
    """A daemon on a thread of this process, on the embedded transport."""

    def __init__(
        self,
        place: Place,
        bundle: Bundle,
        transport_fails: Callable[[str, int], Exception | None] = never,
        engine_fails: Callable[[str, int], Exception | None] = never,
        policy: RecoveryPolicy | None = None,
        snapshots: SnapshotPolicy = SnapshotPolicy(),  # noqa: B008  # a frozen value
    ) -> None:
        self.error: BaseException | None = None
        self.stop = threading.Event()
        manifest = bundle.manifest

        def live() -> None:
            settings = MemberSettings(place.url, f"{place.tag}-group", place.topic("in"), place.topic("out"), "a")
            transport = Faulty(open_transport(settings), transport_fails)
            processor = Processor(
                Faulty(open_cpu_engine(bundle), engine_fails),
                make_decoder("f32", manifest),
                make_encoder("f32", manifest),
                ProcessorSettings(topic="in"),
            )
            fingerprint = state_fingerprint(manifest, {})
            checkpoint = Checkpoint(processor, transport, fingerprint, snapshots, manifest.state_bytes)
            recovery = Recovery(processor, transport, fingerprint, policy or RecoveryPolicy(), manifest.state_bytes)
            settings_ = LoopSettings(commit_interval_s=0.01, max_records=50)
            try:
                Daemon(transport, processor, checkpoint, recovery, settings_, Metrics()).run(self.stop)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=live)
        self.thread.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture(autouse=True)
def without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_module, "RETRY_PAUSE_S", 0.01)


def fed(place: Place, bundle: Bundle, n: int = 400) -> list[bytes]:
    """Feed ``n`` records of 10 streams to partition 0; returns what the outputs must be."""
    rng, oracle = np.random.default_rng(n), Oracle(bundle.path)
    rows = rng.standard_normal((n, 3)).astype(np.float32)
    place.feed([(0, b"s%d" % (i % 10), row.tobytes()) for i, row in enumerate(rows)])
    return [oracle.step(i % 10, row).tobytes() for i, row in enumerate(rows)]


@pytest.mark.parametrize("interval_s", [0.0, 0.05, 1000.0])
@pytest.mark.parametrize(
    ("method", "counts"),
    [("commit", {2, 4, 5}), ("send", {1, 4, 9}), ("commit", {1})],
)
def test_aborted_epoch_is_repeated_and_every_output_comes_once(method, counts, interval_s, embedded, bundle):
    expected = fed(embedded, bundle)

    def fail(name: str, count: int) -> Exception | None:
        return CommitAborted(f"{name} {count}") if name == method and count in counts else None

    with Running(embedded, bundle, transport_fails=fail, snapshots=SnapshotPolicy(interval_s)) as running:
        wait_for(lambda: len(embedded.read()) >= len(expected) or not running.thread.is_alive(), "outputs")
    assert running.error is None
    assert embedded.read().values == expected


def test_stream_that_ended_and_began_anew_in_one_epoch_recovers_without_its_old_state(embedded, bundle):
    """Its old snapshot must be gone although its new state is not saved yet: the replay begins behind its end."""
    oracle, rows = Oracle(bundle.path), np.random.default_rng(4).standard_normal((3, 3)).astype(np.float32)
    first = oracle.step("before", rows[0]).tobytes()
    embedded.feed([(0, b"a", rows[0].tobytes())])
    with Running(embedded, bundle, snapshots=SnapshotPolicy(0.0)):
        wait_for(lambda: len(embedded.read()) == 1, "the first output, saved")
    broken = threading.Event()

    def fail(name: str, count: int) -> Exception | None:
        if name == "commit" and broken.is_set():
            broken.clear()
            return CommitAborted("once")
        return None

    embedded.feed([(0, b"a", None), (0, b"a", rows[1].tobytes())])
    with Running(embedded, bundle, transport_fails=fail, snapshots=SnapshotPolicy(1000.0, bytes_per_s=0.0)):
        wait_for(lambda: len(embedded.read()) == 2, "the first output of the new life")
        broken.set()
        embedded.feed([(0, b"a", rows[2].tobytes())])
        wait_for(lambda: len(embedded.read()) == 3, "the output after the recovery")
    assert not broken.is_set()
    assert embedded.read().values == [first, *(oracle.step("after", row).tobytes() for row in rows[1:])]


def test_failed_model_call_is_repeated_from_the_committed_state(embedded, bundle):
    expected = fed(embedded, bundle)

    def fail(name: str, count: int) -> Exception | None:
        return EngineError("no memory") if name == "works" or (name == "run" and count in {3, 6, 7}) else None

    with Running(embedded, bundle, engine_fails=fail) as running:
        wait_for(lambda: len(embedded.read()) >= len(expected) or not running.thread.is_alive(), "outputs")
    assert running.error is None
    assert embedded.read().values == expected


def test_model_that_always_fails_ends_the_daemon_with_its_message(embedded, bundle):
    fed(embedded, bundle)

    def fail(name: str, count: int) -> Exception | None:
        return EngineError("no memory") if name in ("run", "works") else None

    with Running(embedded, bundle, engine_fails=fail) as running:
        running.thread.join(20)
    assert isinstance(running.error, EngineError)
    assert len(embedded.read()) == 0


def served(place: Place, bundle: Bundle, policy: RecoveryPolicy | None = None) -> BaseException | None:
    """Serve until all input has an output or the daemon ends; returns its error."""
    n = len(place.read("in"))
    with Running(place, bundle, policy=policy) as running:
        wait_for(lambda: len(place.read()) >= n or not running.thread.is_alive(), "outputs")
    return running.error


def test_new_model_is_refused_unless_told_to_start_anew(embedded, bundle, tmp_path):
    fed(embedded, bundle)
    assert served(embedded, bundle) is None
    other = make_bundle(tmp_path / "other", seed=5)
    before = len(embedded.read())
    embedded.feed([(0, b"s1", np.ones(3, "<f4").tobytes())] * 2)
    error = served(embedded, other)
    assert isinstance(error, StateError)
    assert "--on-new-model" in str(error)
    assert served(embedded, other, RecoveryPolicy(on_new_model="reset")) is None
    oracle = Oracle(other.path)
    assert embedded.read().values[before:] == [oracle.step("s", np.ones(3, np.float32)).tobytes() for _ in range(2)]
    embedded.feed([(0, b"s1", np.ones(3, "<f4").tobytes())])
    assert served(embedded, other) is None
    assert embedded.read().values[-1] == oracle.step("s", np.ones(3, np.float32)).tobytes()


def move_offset(place: Place, offset: int) -> None:
    """What an operator's tool does: another offset, and no metadata of ours."""
    import sqlite3

    path = Path(place.url.removeprefix("sqlite:"))
    connection = sqlite3.connect(path)
    with connection:
        changed = connection.execute("UPDATE positions SET offset = ?, metadata = '' WHERE partition = 0", (offset,))
        assert changed.rowcount == 1
    connection.close()


@pytest.mark.parametrize("offset", [100, 400])
def test_moved_offset_is_refused_unless_told_to_start_anew(offset, embedded, bundle):
    fed(embedded, bundle)
    assert served(embedded, bundle) is None
    move_offset(embedded, offset)
    embedded.feed([(0, b"s1", np.ones(3, "<f4").tobytes())])
    error = served(embedded, bundle)
    assert isinstance(error, StateError)
    assert "--on-moved-offsets" in str(error)
    assert served(embedded, bundle, RecoveryPolicy(on_moved_offsets="reset")) is None
