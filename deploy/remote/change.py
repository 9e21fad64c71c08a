"""A change on a device, which its audit tells; the lock that keeps two operators apart; and one change at a time.

A command that changes something carries its lines of the audit and writes them itself, before and
after; each may be repeated. SIGHUP and SIGPIPE are ignored there: a lost connection never leaves
a device between two states that a whole script would have passed through.

So a change may still be at work when its operator has given it up, or may even begin then. Two rules::

    at most one change at a time          it holds the file ``changing`` (flock) until its shell has ended
    only of the rollout that has          ``lock`` names it; whoever takes the lock waits for the change that is at
    the device's lock                     work, and one of an earlier rollout that begins later is refused
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from deploy.remote.audit import Entry, Outcome, encode_entry
from deploy.remote.command import SHELL, Command, script
from deploy.remote.layout import Layout

WAIT_S = 20
"""How long a change waits for the one before it, in seconds."""

LOCK_WAIT_S = 50
"""How long whoever takes the lock waits for a change of before: longer than a daemon may take to stop."""

LOCKED = 75
"""Exit status where somebody else has the device (EX_TEMPFAIL)."""

_ALONE = """
alone() {  # waits for its turn, so many seconds; from then on descriptor 9 is what others wait for
  mkdir -p "$1"; [ -e "$1/changing" ] || (umask 077; : >>"$1/changing")
  exec 9>>"$1/changing"
  tries=0
  until flock -n 9; do
    if [ "$tries" -ge "$2" ]; then
      echo "a change from before is still at work: $(tail -n 1 "$1/audit.jsonl" 2>/dev/null)"; exit 75
    fi
    tries=$((tries + 1)); sleep 1
  done
}
"""

AUDITED = f"""
trap '' HUP PIPE
{_ALONE}
base=$1 rollout=$2 begun=$3 done=$4 failed=$5; shift 5
audit=$base/audit.jsonl
if [ -n "$rollout" ]; then
  alone "$base" {WAIT_S} >&2
  if [ "$(sed -n 3p "$base/lock" 2>/dev/null)" != "$rollout" ]; then
    holder=$(sed -n 2p "$base/lock" 2>/dev/null || true)
    echo "this deploy has the device no more; now it is of: ${{holder:-nobody}}" >&2; exit {LOCKED}
  fi
else mkdir -p "$base"; fi
note() {{
  gap=
  [ -z "$(tail -c 1 "$audit" 2>/dev/null)" ] || gap='
'
  printf '%s%s\\n' "$gap" "$1" >>"$audit"
}}
tell() {{  # where the disk is full: into the room that is kept for it, else into the system's log
  note "$1" 2>/dev/null || {{ rm -f "$base/reserve"; note "$1" 2>/dev/null; }} || logger -t edge-rnn "$1"
}}
ended() {{
  s=$?; if [ "$s" = 0 ]; then tell "$done"; else tell "$failed"; fi || true
  sync "$audit" 2>/dev/null || sync
}}
tell "$begun" || {{ echo "the audit cannot be written" >&2; exit 1; }}
trap ended EXIT
"""
"""Runs before the text of a change: what follows is in the audit as begun, and then as done or failed."""


@dataclass(frozen=True)
class Change:
    """One change on one device. ``entry`` tells who, when and which release; commands add what they do."""

    layout: Layout
    entry: Entry

    def script(
        self, what: str, text: str, *values: str, stdin: bytes = b"", timeout_s: float = 60.0, fenced: bool = True
    ) -> Command:
        """An audited script: the constant ``text`` with ``values`` as ``$1``, ``$2``...

        ``fenced``: only while this rollout has the lock, and after the change before it has ended.
        """
        outcomes: tuple[Outcome, ...] = ("begun", "done", "failed")
        lines = [encode_entry(msgspec.structs.replace(self.entry, what=what, outcome=outcome)) for outcome in outcomes]
        rollout = self.entry.rollout if fenced else ""
        # what the script starts does not inherit the descriptor: the turn is over when the shell has ended
        body = f"{AUDITED}{{\n{text}\n}} 9>&-\n"
        words = (*SHELL, body, "edge-rnn", self.layout.base, rollout, *lines, *values)
        return Command(what, words, stdin, timeout_s=timeout_s + WAIT_S)


def acquire_lock(layout: Layout, token: str, holder: str, rollout: str) -> Command:
    """Take the device's lock once no change is at work there; under the same token it goes to another rollout.

    Status `LOCKED` where it is somebody else's, or a change does not end.
    """
    text = f"""
{_ALONE}
base=$1 lock=$2
alone "$base" {LOCK_WAIT_S}
{{
if [ -e "$lock" ] && [ "$(head -n 1 "$lock")" != "$3" ]; then sed -n 2p "$lock"; exit {LOCKED}; fi
trap 'rm -f "$lock.new"' EXIT
draft() {{ printf '%s\\n%s\\n%s\\n' "$1" "$2" "$3" >"$lock.new"; }}
draft "$3" "$4" "$5" 2>/dev/null || {{ rm -f "$base/reserve"; draft "$3" "$4" "$5"; }}
mv -f "$lock.new" "$lock"
}} 9>&-
"""
    values = (layout.base, layout.lock, token, holder, rollout)
    return script("lock", text, *values, timeout_s=LOCK_WAIT_S + 30.0)


def release_lock(layout: Layout, rollout: str) -> Command:
    """Give the lock back, if this rollout has it."""
    text = 'if [ -e "$1" ] && [ "$(sed -n 3p "$1")" = "$2" ]; then rm -f "$1"; fi'
    return script("release lock", text, layout.lock, rollout)


def break_lock(change: Change) -> Command:
    """Take the lock from a holder who died; prints who it was. What of theirs begins later is refused."""
    text = 'if [ -e "$1" ]; then sed -n 2p "$1"; rm -f "$1"; fi'
    return change.script("unlock", text, change.layout.lock, fenced=False)
