"""What moves traffic on a device: shadow, promote, swap, go back, settle. One script each, so that none is half done.

The one commit point is the link ``active``: it is renamed into place when the new daemon has taken over. Wherever a
script ends before its time, `settle` brings the device to what ``active`` says. No script lets a
daemon serve before the other one has ended.
"""

from __future__ import annotations

from deploy.remote.change import Change
from deploy.remote.command import Command
from deploy.remote.layout import SLOTS, Slot, other
from deploy.remote.units import CONFIG, HEALTH_PROGRAM, SHADOWS

FLIP = """mv -fT "$active.new" "$active"; rm -f "$marker"; sync; touch "${active%/*}/slots/$new/served" || true"""
"""Makes ``$new`` the slot that serves, also after a power cut; ``served`` says that a roll-back may go there.

The link lies ready by then, so that this needs no room on the disk.
"""

START_SHADOW = """
unit=$1 marker=$2 setting=$3 active=$4 slot=$5
[ "$(readlink "$active")" != "slots/$slot" ] || { echo "slot $slot serves" >&2; exit 1; }
mkdir -p "${marker%/*}"
printf '%s\\n' "$setting" >"$marker.new"; mv -f "$marker.new" "$marker"
systemctl restart "$unit"
"""

PROMOTE = f"""
engine=$1 active=$2 new=$3 new_unit=$4 old_unit=$5 marker=$6 container=$7 port=$8 old_port=$9
ask() {{ "$engine" exec "$container" python3 -m {HEALTH_PROGRAM} POST "$port" /promote "$@"; }}
ln -sfn "slots/$new" "$active.new"
said="$marker.said"; rm -f "$said"; mkfifo "$said"
ask --once-closed "$old_port" >"$said" &
asking=$!
exec 3<"$said"; rm -f "$said"
line=; read -r line <&3 || true
asked=0
case "$line" in
waiting)
  systemctl stop "$old_unit" &
  stopping=$!
  wait "$asking" || asked=$?
  cat <&3 || true  # nobody may be there any more to read it
  wait "$stopping" || true;;
closed)
  wait "$asking" || true
  systemctl stop "$old_unit"
  ask || asked=$?;;
*)
  wait "$asking" || true
  echo "the shadow cannot be asked to take over; the daemon before it serves on" >&2; exit 4;;
esac
if [ "$asked" = 0 ]; then
  {FLIP}
else
  rm -f "$marker"; systemctl stop "$new_unit" || true
  systemctl start "$old_unit"
  echo "the shadow could not be promoted; the daemon before it serves again" >&2; exit 3
fi
"""
"""The shadow is asked by a program that is there already when the old daemon is told to stop, and asks in the moment
that this one has committed and closed its port: not when its container and unit are cleared away, too. A port that is
closed before tells nothing: that daemon may be on its way up. Then the shadow is asked when its unit has stopped."""

SWAP = f"""
active=$1 new=$2 new_unit=$3 old_unit=$4 marker=$5 left=$6
ln -sfn "slots/$new" "$active.new"
rm -f "$marker"; systemctl stop "$new_unit" 2>/dev/null || true
if [ -n "$left" ]; then rm -f "${{active%/*}}/slots/$left/served"; fi
if [ -n "$old_unit" ]; then systemctl stop "$old_unit"; fi
{FLIP}
systemctl start "$new_unit"
"""
"""A shadow ends before the link names its slot: what runs in the slot that serves is never one."""

SETTLE = """
active=$1 base=$2
serving=$(readlink "$active" 2>/dev/null || true)
shift 2
unit= verb=start
for _ in 1 2; do
  if [ "$serving" = "slots/$1" ]; then
    unit=$2; if [ -e "$3" ]; then verb=restart; fi
  else systemctl stop "$2" 2>/dev/null || true; fi
  rm -f "$3"; shift 3
done
if [ -n "$unit" ]; then
  if systemctl "$verb" "$unit"; then touch "$base/$serving/served" || true
  else echo "$unit does not start: $serving is to serve" >&2; fi
fi
"""
"""Ends the other one first: it may have taken over without the link. A marker that is there still says that the slot
that serves may run as a shadow. A daemon that does not start keeps nothing from being settled: readiness tells of it,
and the next release replaces it."""


def start_shadow(change: Change, slot: Slot) -> Command:
    """Start a slot as a shadow of the group; it reads, and neither commits nor emits."""
    layout, setting = change.layout, f"{CONFIG}={SHADOWS}"
    values = (f"{layout.unit(slot)}.service", layout.marker(slot), setting, layout.active, slot)
    return change.script("start shadow", START_SHADOW, *values)


def promote(change: Change, engine: str, slot: Slot, port: int, old_port: int) -> Command:
    """The old daemon commits and stops; the shadow becomes the member it was. If it cannot, the old one starts again."""
    layout = change.layout
    values = (
        *(engine, layout.active, slot, f"{layout.unit(slot)}.service", f"{layout.unit(other(slot))}.service"),
        *(layout.marker(slot), layout.unit(slot), str(port), str(old_port)),
    )
    return change.script("promote", PROMOTE, *values, timeout_s=180.0)


def swap(change: Change, slot: Slot, *, first: bool, back: bool = False) -> Command:
    """Stop the slot that serves, if there is one, and start the other; ``back``: nothing goes to the one left."""
    layout = change.layout
    old_unit = "" if first else f"{layout.unit(other(slot))}.service"
    values = (
        layout.active,
        slot,
        f"{layout.unit(slot)}.service",
        old_unit,
        layout.marker(slot),
        other(slot) if back else "",
    )
    return change.script("roll back" if back else "swap", SWAP, *values, timeout_s=180.0)


def go_back(change: Change, slot: Slot) -> Command:
    """Let the slot serve that served before; its snapshots still stand."""
    return swap(change, slot, first=False, back=True)


def settle(change: Change) -> Command:
    """Whatever was under way here: the slot that ``active`` names serves, the other one does not run."""
    layout = change.layout
    triples = [(slot, f"{layout.unit(slot)}.service", layout.marker(slot)) for slot in SLOTS]
    values = [value for triple in triples for value in triple]
    return change.script("settle", SETTLE, layout.active, layout.base, *values, timeout_s=180.0)


def withdraw(change: Change) -> Command:
    """Stop serving: after a first release that failed there is nothing to go back to."""
    layout = change.layout
    text = 'rm -f "$1"; sync; shift; for unit in "$@"; do systemctl stop "$unit" 2>/dev/null || true; done'
    units = [f"{layout.unit(slot)}.service" for slot in SLOTS]
    return change.script("withdraw", text, layout.active, *units, timeout_s=180.0)


def stop_shadow(change: Change, slot: Slot) -> Command:
    """End a shadow, or what was left of one; the slot that serves is refused."""
    text = """
[ "$(readlink "$1")" != "slots/$2" ] || { echo "slot $2 serves" >&2; exit 1; }
rm -f "$4"; systemctl stop "$3" 2>/dev/null || true
"""
    layout = change.layout
    values = (layout.active, slot, f"{layout.unit(slot)}.service", layout.marker(slot))
    return change.script("stop shadow", text, *values, timeout_s=120.0)
