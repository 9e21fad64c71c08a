"""What is written down about every change: who, what, when, which release. Kept on the device that was changed."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable
from typing import Literal

import msgspec

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


def parse_audit(text: str, device: str) -> list[Entry]:
    """Entries of a device's audit; a line that a power cut left unfinished is told as ``unreadable``."""
    found: list[Entry] = []
    for one in text.split("\n"):
        if not one.strip("\0 \r"):
            continue
        try:
            found.append(msgspec.json.decode(one, type=Entry))
        except msgspec.DecodeError:
            found.append(Entry(time="", who="", what="unreadable", device=device, outcome="failed", detail=one[:200]))
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
