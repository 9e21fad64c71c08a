"""Daemons as processes: started, broken, watched, and started again when they end by themselves."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TURN_S = 0.05
STOP_S = 60.0
PAUSE_S = 0.3
CHANGES = re.compile(r"partitions (assigned|revoked|lost) partitions=\[([\d, ]*)\]")


@dataclass(frozen=True, slots=True)
class Exit:
    """A daemon that ended though nobody asked it to, and was not at an armed fail point."""

    member: str
    at_s: float
    status: int
    message: str


@dataclass
class Member:
    """``edge-rnn run`` under one instance name, over all its lives; each life has a log of its own."""

    name: str
    arguments: Sequence[str]
    folder: Path
    prefix: Sequence[str] = ()
    varied: Callable[[random.Random], list[str]] = lambda _: []
    rng: random.Random = field(default_factory=random.Random)
    lives: int = 0
    wanted: bool = False
    armed: str | None = None
    fired: str | None = None
    frozen: bool = False
    not_before: float = 0.0
    failures: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The log of the latest life."""
        return self.folder / f"{self.name}-{self.lives}.log"

    def start(self, fail_point: str | None = None) -> None:
        """A new life, armed to die at ``fail_point`` (``NAME:COUNT``) if given."""
        self.lives += 1
        self.wanted, self.armed, self.fired, self.frozen = True, fail_point, None, False
        environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONFAULTHANDLER": "1"}
        environment.pop("EDGE_RNN_FAIL_POINT", None)
        if fail_point is not None:
            environment["EDGE_RNN_FAIL_POINT"] = fail_point
        command = [*self.prefix, sys.executable, "-m", "edge_rnn.cli", "run", *self.arguments, *self.varied(self.rng)]
        with self.log.open("ab") as log:
            log.write(f"{fail_point or ''} {' '.join(command)}\n".encode())
            log.flush()
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ready(self) -> bool:
        """Whether this life has served a partition."""
        return self.alive() and b"partition ready" in self.log.read_bytes()

    def partitions(self) -> set[int]:
        """The partitions that this life says it has."""
        held: set[int] = set()
        for change, numbers in CHANGES.findall(self.log.read_text(errors="replace")):
            named = {int(number) for number in numbers.split(",") if number.strip()}
            held = held | named if change == "assigned" else held - named
        return held if self.alive() else set()

    def dump(self) -> None:
        """SIGABRT: it writes where each of its threads is to its log, and ends."""
        self.wanted = False
        if self.alive() and self.process is not None:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(STOP_S)

    def kill(self) -> bool:
        """SIGKILL; whether there was anything to kill."""
        was = self.alive()
        self.wanted = False
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_S)
        return was

    def stop(self) -> int | None:
        """SIGTERM; the exit status, ``None`` where it had to be killed or was not there."""
        self.wanted = False
        if not self.alive():
            return None
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def freeze(self) -> bool:
        """SIGSTOP; whether there was anything to stop."""
        if not self.alive():
            return False
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.frozen = True
        return True

    def thaw(self) -> None:
        """SIGCONT."""
        if self.frozen and self.alive():
            assert self.process is not None
            self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def message(self) -> str:
        """The last line that this life wrote."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else ""


class Fleet:
    """All members. `reap` starts again what ended by itself; every wait goes through here, so that none stays down."""

    def __init__(self, began: float) -> None:
        self.members: list[Member] = []
        self.exits: list[Exit] = []
        self.points: list[str] = []
        self._began = began

    def reap(self) -> None:
        """Note who has ended: at a fail point, or for reasons of its own. Start them again, not too fast."""
        now = time.monotonic()
        for member in self.members:
            if not member.wanted or member.alive():
                continue
            assert member.process is not None
            if member.not_before == 0.0:
                status = member.process.returncode
                if status == -signal.SIGKILL and member.armed is not None:
                    member.fired = member.armed
                    self.points.append(member.armed.partition(":")[0])
                    member.failures = 0
                else:
                    self.exits.append(Exit(member.name, round(now - self._began, 2), status, member.message()))
                    member.failures += 1
                member.not_before = now + PAUSE_S * min(8, member.failures)
            if now >= member.not_before:
                fired, member.not_before = member.fired, 0.0
                member.start()
                member.fired = fired

    def wait(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        """Look again and again; whether it came true in time."""
        end = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > end:
                return False
            self.reap()
            time.sleep(TURN_S)
        return True

    def pass_time(self, seconds: float) -> None:
        self.wait(lambda: False, seconds)

    @property
    def restarts(self) -> int:
        """Lives beyond each member's first."""
        return sum(max(0, member.lives - 1) for member in self.members)

    def close(self) -> None:
        """End every process that was started here."""
        for member in self.members:
            member.kill()
