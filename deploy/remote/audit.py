"""What is written down about every change: who, what, when, which release. Kept on the device that was changed."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable
from typing import Literal

import msgspec

from edge_rnn.contract.errors import DeployError

Outcome = Literal["begun", "done", "failed"]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of an audit. ``time`` is ISO 8601 in UTC, by the operator's clock."""

    time: str
    who: str
    what: str
    device: str
    rollout: str = ""
    release: str = ""
    outcome: Outcome = "done"
    detail: str = ""


def encode_entry(entry: Entry) -> str:
    """One JSON object without a line break."""
    return msgspec.json.encode(entry).decode()


def parse_audit(text: str, where: str) -> list[Entry]:
    """Entries of an audit file; a last line that a power cut left unfinished is passed over. Raises `DeployError`."""
    lines = [line for line in text.split("\n") if line.strip("\0 \r")]
    found: list[Entry] = []
    for number, one in enumerate(lines):
        try:
            found.append(msgspec.json.decode(one, type=Entry))
        except msgspec.DecodeError as error:
            if number == len(lines) - 1:
                break
            raise DeployError(f"{where}: line {number + 1} of the audit cannot be read: {error}") from error
    return found


def unfinished(entries: Iterable[Entry]) -> list[Entry]:
    """What was begun and never ended, in order: where a device or its connection died."""
    open_: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        key = (entry.device, entry.rollout, entry.what)
        if entry.outcome == "begun":
            open_[key] = entry
        else:
            open_.pop(key, None)
    return list(open_.values())


def whoami() -> str:
    """``user@host`` of the operator; under sudo the user who called it."""
    user = os.environ.get("SUDO_USER")
    if not user:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
