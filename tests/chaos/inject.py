"""Carries faults out: one method a kind, each of which undoes what it did. See `tests.chaos.faults.KINDS`."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field

from tests.chaos.faults import SESSION_S, Fault
from tests.chaos.members import Fleet, Member
from tests.chaos.places import Place, SqlitePlace
from tests.chaos.watch import Watcher
from tests.kafka.broker import KafkaUnavailable

FIRE_S = 12.0
READY_S = 20.0
TAKEOVER_S = 20.0
RECOVERED_S = 60.0


@dataclass
class Happened:
    """What came of a fault. ``kinds``: what to count; ``recovered_s``: until every partition gave outputs again."""

    fault: Fault
    at_s: float
    kinds: list[str] = field(default_factory=list)
    note: str = ""
    recovered_s: float | None = None
    longest_gap_s: float = 0.0


class Injector:
    """Breaks ``fleet`` and ``place``. ``guest`` is one more member, started only to come and go."""

    def __init__(self, fleet: Fleet, base: list[Member], guest: Member | None, place: Place, watcher: Watcher) -> None:
        self._fleet = fleet
        self._base = base
        self._guest = guest
        self._place = place
        self._watcher = watcher
        self._began = time.monotonic()

    def inject(self, fault: Fault) -> Happened:
        """Carry a fault out, undo it, and wait for outputs of every partition if it says so."""
        begin = time.monotonic()
        happened = Happened(fault, round(begin - self._began, 2))
        getattr(self, "_" + fault.kind.replace("-", "_"))(fault, happened)
        ended = time.monotonic()
        if fault.settle:
            if self._fleet.wait(lambda: self._watcher.alive_since(ended), RECOVERED_S):
                happened.recovered_s = round(time.monotonic() - ended, 2)
            else:
                happened.note += f"; some partition gave nothing for {RECOVERED_S:g} s"
        happened.longest_gap_s = round(self._watcher.longest_gap_s(begin, time.monotonic()), 2)
        self._fleet.pass_time(fault.pause_s)
        return happened

    def _member(self, fault: Fault) -> Member:
        return self._base[fault.member]

    # -- members ------------------------------------------------------------------------------------------------------

    def _kill(self, fault: Fault, happened: Happened) -> None:
        member = self._member(fault)
        if member.kill():
            happened.kinds.append("kill")
        member.start()

    def _kill_all(self, fault: Fault, happened: Happened) -> None:
        if any([member.kill() for member in self._base]):
            happened.kinds.append("kill-all")
        for member in self._base:
            member.start()

    def _fail_point(self, fault: Fault, happened: Happened) -> None:
        """Arm a member and wait until it has killed itself; for `revoked` all of them, and a guest who takes some."""
        happened.note = f"{fault.point}:{fault.count}"
        revoked = fault.point == "revoked" and self._guest is not None
        armed = self._base if revoked else [self._member(fault)]
        for member in armed:
            if fault.gentle:
                self._end(member, happened)
            elif member.kill():
                happened.kinds.append("kill")
            member.start(happened.note)
        if revoked and self._guest is not None:
            self._fleet.wait(lambda: all(member.ready() or member.fired for member in armed), READY_S)
            self._guest.start()
        if self._fleet.wait(lambda: any(member.fired for member in armed), FIRE_S):
            happened.kinds.append(f"fail-point {fault.point}")
        else:
            happened.note += " did not fire"
            for member in armed:
                if member.kill():
                    happened.kinds.append("kill")
                member.start()
        if revoked and self._guest is not None:
            self._end(self._guest, happened)

    def _pause(self, fault: Fault, happened: Happened) -> None:
        member = self._member(fault)
        if member.freeze():
            happened.kinds.append("pause")
        self._fleet.pass_time(fault.hold_s)
        member.thaw()

    def _zombie(self, fault: Fault, happened: Happened) -> None:
        member = self._member(fault)
        began = time.monotonic()
        if member.freeze():
            happened.kinds.append("zombie")
        self._fleet.pass_time(fault.hold_s)
        if len(self._base) > 1:
            taken = self._fleet.wait(lambda: self._watcher.alive_since(began + SESSION_S), TAKEOVER_S)
            happened.note = "taken over" if taken else "nobody took over"
        member.thaw()

    def _restart(self, fault: Fault, happened: Happened) -> None:
        member = self._member(fault)
        self._end(member, happened)
        member.start()

    def _rolling(self, fault: Fault, happened: Happened) -> None:
        for member in self._base:
            self._end(member, happened, "rolling")
            member.start()
            self._fleet.wait(member.ready, READY_S)

    def _join_leave(self, fault: Fault, happened: Happened) -> None:
        self._join(fault, happened, "join-leave")
        if self._guest is not None:
            self._end(self._guest, happened, "leave")

    def _join_kill(self, fault: Fault, happened: Happened) -> None:
        self._join(fault, happened, "join-kill")
        if self._guest is not None:
            self._guest.kill()

    def _join(self, fault: Fault, happened: Happened, kind: str) -> None:
        assert self._guest is not None
        self._guest.start()
        happened.note = "served" if self._fleet.wait(self._guest.ready, READY_S) else "got no partition"
        happened.kinds.append(kind)
        self._fleet.pass_time(fault.hold_s)

    def _end(self, member: Member, happened: Happened, kind: str = "restart") -> None:
        """SIGTERM; an end with another status than 0 is told."""
        if not member.alive():
            return
        status = member.stop()
        happened.kinds.append(kind)
        if status not in {0, -signal.SIGTERM}:  # so early that Python itself was not up yet: ended by the signal
            happened.note += f"; {member.name} ended by SIGTERM with status {status}: {member.message()}"

    # -- brokers ------------------------------------------------------------------------------------------------------

    def _broker_stop(self, fault: Fault, happened: Happened) -> None:
        self._outage(fault, happened, kill=False)

    def _broker_kill(self, fault: Fault, happened: Happened) -> None:
        self._outage(fault, happened, kill=True)

    def _outage_kill(self, fault: Fault, happened: Happened) -> None:
        assert self._place.kafka is not None
        node, member = self._place.kafka.nodes[0], self._member(fault)
        node.kill()
        self._fleet.pass_time(fault.hold_s / 2)
        member.kill()
        member.start()
        self._fleet.pass_time(fault.hold_s / 2)
        happened.kinds += ["broker-kill", "kill"]
        self._start(fault.node, happened)

    def _node_stop(self, fault: Fault, happened: Happened) -> None:
        self._outage(fault, happened, kill=False)

    def _node_kill(self, fault: Fault, happened: Happened) -> None:
        self._outage(fault, happened, kill=True)

    def _outage(self, fault: Fault, happened: Happened, *, kill: bool) -> None:
        """With three nodes never two of them: all replicas are in sync again before the next fault."""
        assert self._place.kafka is not None
        node = self._place.kafka.nodes[fault.node]
        (node.kill if kill else node.stop)()
        self._fleet.pass_time(fault.hold_s)
        happened.kinds.append(fault.kind)
        self._start(fault.node, happened)
        self._in_sync(happened)

    def _start(self, number: int, happened: Happened) -> None:
        assert self._place.kafka is not None
        node = self._place.kafka.nodes[number]
        began = time.monotonic()
        try:
            node.start()
        except KafkaUnavailable:  # a port that somebody took for a moment: once more
            node.kill()
            node.start()
        happened.note = (
            f"node {number + 1} held {happened.fault.hold_s:.1f} s, started in {time.monotonic() - began:.1f} s"
        )

    def _in_sync(self, happened: Happened) -> None:
        assert self._place.kafka is not None
        if len(self._place.kafka.nodes) > 1 and not self._place.kafka.replicated():
            happened.note += "; replicas are not in sync again"

    # -- network ------------------------------------------------------------------------------------------------------

    def _cut(self, fault: Fault, happened: Happened) -> None:
        self._cut_off(f"m{fault.member}", fault, happened)

    def _cut_long(self, fault: Fault, happened: Happened) -> None:
        self._cut_off(f"m{fault.member}", fault, happened)

    def _node_cut(self, fault: Fault, happened: Happened) -> None:
        self._cut_off(f"k{fault.node}", fault, happened)
        self._in_sync(happened)

    def _cut_off(self, host: str, fault: Fault, happened: Happened) -> None:
        assert self._place.network is not None
        self._place.network.cut(host)
        try:
            self._fleet.pass_time(fault.hold_s)
        finally:
            self._place.network.heal(host)
        happened.kinds.append(fault.kind)
        happened.note = host

    # -- the embedded store -------------------------------------------------------------------------------------------

    def _store_full(self, fault: Fault, happened: Happened) -> None:
        assert isinstance(self._place, SqlitePlace)
        member = self._member(fault)
        self._place.limit(full=True)
        member.kill()  # a daemon reads the limit when it starts, and when it has run into one
        member.start()
        self._fleet.wait(member.ready, READY_S)
        try:
            self._silence(fault, happened)
        finally:
            self._place.limit(full=False)

    def _disk_full(self, fault: Fault, happened: Happened) -> None:
        assert isinstance(self._place, SqlitePlace)
        self._place.fill()
        try:
            self._silence(fault, happened)
        finally:
            self._place.empty()

    def _silence(self, fault: Fault, happened: Happened) -> None:
        """Wait until nothing comes any more, which shows that it is full, and hold it."""

        def silent() -> bool:
            latest = max((times[-1] for times in self._watcher.times if times), default=0.0)
            return time.monotonic() - latest > 1.0

        if self._fleet.wait(silent, FIRE_S):
            happened.kinds.append(fault.kind)
        else:
            happened.note = "outputs came all the same"
        self._fleet.pass_time(fault.hold_s)
