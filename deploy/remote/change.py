"""A change on a device, which its audit tells; and the lock that keeps two operators apart.

A command that changes something carries its lines of the audit and writes them itself, before and
after; each may be repeated. SIGHUP and SIGPIPE are ignored there: a lost connection never leaves
a device between two states that a whole script would have passed through.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from deploy.remote.audit import Entry, Outcome, encode_entry
from deploy.remote.command import SHELL, Command, script
from deploy.remote.layout import Layout

AUDITED = """
trap '' HUP PIPE
audit=$1 begun=$2 done=$3 failed=$4; shift 4
mkdir -p "${audit%/*}"
[ -z "$(tail -c 1 "$audit" 2>/dev/null)" ] || echo >>"$audit"
printf '%s\\n' "$begun" >>"$audit"
ended() {
  s=$?; if [ "$s" = 0 ]; then printf '%s\\n' "$done"; else printf '%s\\n' "$failed"; fi >>"$audit"
  sync "$audit" 2>/dev/null || sync
}
trap ended EXIT
"""
"""Runs before the text of a change: what follows is in the audit as begun, and then as done or failed."""

LOCKED = 75
"""Exit status of a lock that somebody else holds (EX_TEMPFAIL)."""


@dataclass(frozen=True)
class Change:
    """One change on one device. ``entry`` tells who, when and which release; commands add what they do."""

    layout: Layout
    entry: Entry

    def script(self, what: str, text: str, *values: str, stdin: bytes = b"", timeout_s: float = 60.0) -> Command:
        """An audited script: the constant ``text`` with ``values`` as ``$1``, ``$2``..."""
        outcomes: tuple[Outcome, ...] = ("begun", "done", "failed")
        lines = [encode_entry(msgspec.structs.replace(self.entry, what=what, outcome=outcome)) for outcome in outcomes]
        words = (*SHELL, AUDITED + text, "edge-rnn", self.layout.audit, *lines, *values)
        return Command(what, words, stdin, timeout_s=timeout_s)


def acquire_lock(layout: Layout, token: str, holder: str) -> Command:
    """Take the device's lock: a file linked into place whole. Who has it already has it still; else status `LOCKED`."""
    text = """
lock=$1; mkdir -p "${lock%/*}"; rm -f "$lock.$$"
printf '%s\\n%s\\n' "$2" "$3" >"$lock.$$"
trap 'rm -f "$lock.$$"' EXIT
if ! ln "$lock.$$" "$lock" 2>/dev/null; then
  if [ "$(head -n 1 "$lock")" != "$2" ]; then sed -n 2p "$lock"; exit 75; fi
fi
"""
    return script("lock", text, layout.lock, token, holder)


def release_lock(layout: Layout, token: str) -> Command:
    """Give the lock back, if it is held under this token."""
    text = 'if [ -e "$1" ] && [ "$(head -n 1 "$1")" = "$2" ]; then rm -f "$1"; fi'
    return script("release lock", text, layout.lock, token)


def break_lock(change: Change) -> Command:
    """Take the lock from a holder who died; prints who it was."""
    return change.script("unlock", 'if [ -e "$1" ]; then sed -n 2p "$1"; rm -f "$1"; fi', change.layout.lock)
