"""A command for a device as data: words, what goes to its standard input, how long it may take.

Commands are made by pure functions (`deploy.remote.commands`) and carried out elsewhere
(`deploy.remote.executor`), so that each command line is seen by tests without a device. A
script is a constant text; values reach it as positional parameters only, never as part of it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from edge_rnn.contract.errors import UsageError

SHELL = ("sh", "-euc")


@dataclass(frozen=True)
class Command:
    """Words to run on a device, as root unless told otherwise.

    ``stdin`` may hold secrets: it is shown nowhere. ``stdin_file`` is streamed instead, for what is
    large. ``what`` names the command in messages, logs and tests.
    """

    what: str
    argv: tuple[str, ...]
    stdin: bytes = b""
    stdin_file: Path | None = None
    root: bool = True
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        for word in self.argv:
            if "\0" in word:
                raise UsageError(f"{self.what}: a word of the command holds a NUL character, which no command can take")

    def __repr__(self) -> str:
        return f"Command({self.what!r})"

    def line(self, *, sudo: bool) -> str:
        """The one line that a remote shell is given; every word quoted."""
        words = ("sudo", "-n", "--", *self.argv) if sudo and self.root else self.argv
        return shlex.join(words)


@dataclass(frozen=True)
class Result:
    """How a command ended on the device."""

    status: int
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode(errors="replace")

    @property
    def reason(self) -> str:
        """The last line that it said about a failure, for a message of one line."""
        for stream in (self.stderr, self.stdout):
            lines = stream.decode(errors="replace").strip().splitlines()
            if lines:
                return lines[-1][:300]
        return f"status {self.status}"


def script(
    what: str,
    text: str,
    *values: str,
    stdin: bytes = b"",
    stdin_file: Path | None = None,
    timeout_s: float = 60.0,
) -> Command:
    """Run the constant shell script ``text`` (POSIX, ``-eu``) with ``values`` as ``$1``, ``$2``..."""
    return Command(what, (*SHELL, text, "edge-rnn", *values), stdin, stdin_file, timeout_s=timeout_s)


def parse_facts(text: str) -> dict[str, str]:
    """Lines of ``name=value``, as the scripts print what they find; other lines are passed over."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and name.replace(".", "").replace("_", "").isalnum():
            facts[name] = value.strip()
    return facts
