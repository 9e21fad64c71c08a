"""What asks a device and changes nothing: preflight, status, the daemon's HTTP port, logs, audit."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.remote.change import Change
from deploy.remote.command import Command, script
from deploy.remote.layout import SLOTS, Layout, loaded_name
from deploy.remote.units import HEALTH_PROGRAM

PROBE = """
root=$1 key=$2 engine=$3 image=$4; shift 4
echo "arch=$(uname -m)"
echo "time=$(date +%s)"
dir=$root; while [ ! -d "$dir" ]; do dir=${dir%/*}; dir=${dir:-/}; done
echo "free=$(df -Pk "$dir" | awk 'NR==2 { print $4 }')"
for one in podman docker; do
  if [ "$engine" = auto ] || [ "$engine" = "$one" ]; then
    if path=$(command -v "$one" 2>/dev/null) && version=$("$one" --version 2>/dev/null); then
      echo "$one=$version"; echo "$one.path=$path"
      if [ -n "$image" ] && "$one" image inspect "$image" >/dev/null 2>&1; then echo "$one.image=yes"; fi
    fi
  fi
done
echo "systemd=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p')"
if command -v openssl >/dev/null 2>&1; then echo openssl=yes; fi
if command -v flock >/dev/null 2>&1; then echo flock=yes; fi
if [ -e "$key" ]; then echo "key=$(sha256sum "$key" | cut -c 1-64)"; fi
if [ -e /dev/nvidia0 ] || [ -e /dev/nvidiactl ]; then echo gpu=cuda; fi
if [ -e /etc/nv_tegra_release ] || [ -e /dev/nvhost-gpu ] || [ -e /dev/nvgpu ]; then echo gpu=jetson; fi
if [ -e /etc/cdi/nvidia.yaml ] || [ -e /var/run/cdi/nvidia.yaml ]; then echo cdi=yes; fi
for broker in "$@"; do
  host=${broker%:*}; port=${broker##*:}; host=${host#[}; host=${host%]}
  if command -v bash >/dev/null 2>&1; then
    if timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$host" "$port" 2>/dev/null
    then echo broker=yes; break; else echo broker=no; fi
  elif command -v nc >/dev/null 2>&1; then
    if nc -h 2>&1 | grep -q -e '-z'; then try=-z; else try='-e true'; fi
    if timeout 5 nc -w 4 "$host" "$port" $try </dev/null >/dev/null 2>&1
    then echo broker=yes; break; else echo broker=no; fi
  else echo broker=unknown; fi
done
"""


def probe(layout: Layout, engine: str, brokers: Sequence[str], image: str = "") -> Command:
    """All that a preflight needs, in one go; prints ``name=value`` lines and never fails for what is missing.

    ``image``: it also tells whether the device has this one already.
    """
    return script("preflight", PROBE, layout.root, layout.key, engine, image, *brokers, timeout_s=60.0)


ANSWER_S = 12
"""How long podman may take to ask the daemon, in seconds: longer than the daemon may take to answer."""

LOOK = f"""
limit() {{  # so many seconds for a program; BusyBox's timeout would keep the output open for one more
  seconds=$1; shift
  "$@" & program=$!
  (sleep "$seconds"; kill -9 "$program") >/dev/null 2>&1 &
  watch=$!; s=0; wait "$program" || s=$?
  kill "$watch" 2>/dev/null || true; return "$s"
}}
base=$1 active=$2 lock=$3 engine=$4 port=$5; shift 5
if [ "$engine" = auto ]; then
  engine=podman; command -v podman >/dev/null 2>&1 || ! command -v docker >/dev/null 2>&1 || engine=docker
fi
echo "active=$(readlink "$active" 2>/dev/null || true)"
[ ! -e "$lock" ] || echo "lock=$(sed -n 2p "$lock")"
n=0
while [ $# -gt 0 ]; do
  slot=$1 unit=$2 marker=$3
  echo "slot.$slot.release=$(cat "$base/slots/$slot/release" 2>/dev/null || true)"
  echo "slot.$slot.image=$(cat "$base/slots/$slot/image" 2>/dev/null || true)"
  echo "slot.$slot.unit=$(systemctl is-active "$unit.service" 2>/dev/null || true)"
  if [ -e "$marker" ]; then echo "slot.$slot.shadow=yes"; fi
  if [ -e "$base/slots/$slot/served" ]; then echo "slot.$slot.served=yes"; fi
  if [ "$(readlink "$active" 2>/dev/null)" = "slots/$slot" ]; then
    answer=$(limit {ANSWER_S} "$engine" exec "$unit" python3 -m {HEALTH_PROGRAM} GET $((port + n)) /readyz \\
      2>/dev/null | head -n 1) || true
    echo "ready=${{answer:-none}}"
  fi
  n=$((n + 1)); shift 3
done
echo "free=$(df -Pk "$base" 2>/dev/null | awk 'NR==2 {{ print $4 }}')"
echo "last=$(tail -n 1 "$base/audit.jsonl" 2>/dev/null || true)"
"""


def look(layout: Layout, engine: str, port: int) -> Command:
    """What a device runs now: slots, the one that serves, whether it is ready, who holds the lock.

    ``engine`` may be ``auto``. A podman that hangs costs no more than the answer of its daemon.
    """
    triples = [value for slot in SLOTS for value in (slot, layout.unit(slot), layout.marker(slot))]
    values = (layout.base, layout.active, layout.lock, engine, str(port), *triples)
    return script("status", LOOK, *values, timeout_s=30.0)


def ask(engine: str, container: str, port: int, path: str) -> Command:
    """GET a path of the daemon's HTTP port, from within its container; prints the status, then the body."""
    words = (engine, "exec", container, "python3", "-m", HEALTH_PROGRAM, "GET", str(port), path)
    return Command(f"GET {path}", words, timeout_s=30.0)


def has_image(engine: str, image: str) -> Command:
    """Status 0 where the device has an image, so that it need not be sent."""
    words = (engine, "image", "inspect", image, "--format", "{{.Id}}")
    return Command("look for image", words)


def read_audit(layout: Layout) -> Command:
    """The whole audit of a device."""
    return script("read audit", '[ ! -e "$1" ] || cat "$1"', layout.audit)


def read_logs(layout: Layout, lines: int, since: str | None) -> Command:
    """The newest lines that the services of both slots wrote."""
    units = [word for slot in SLOTS for word in ("--unit", f"{layout.unit(slot)}.service")]
    span = [] if since is None else [f"--since={since}"]
    return Command("logs", ("journalctl", "--no-pager", "--output=cat", "--lines", str(lines), *units, *span))


def run_inside(engine: str, container: str, words: Sequence[str]) -> Command:
    """Any command in the container that serves."""
    return Command("exec", (engine, "exec", container, *words), timeout_s=600.0)


PRUNE = """
base=$1 engine=$2 repository=$3 loaded=$4; shift 4
for bundle in "$base"/bundles/*; do
  [ -e "$bundle" ] || continue
  used=no
  for slot in a b; do [ "$(readlink "$base/slots/$slot/bundle" 2>/dev/null)" != "$bundle" ] || used=yes; done
  for keep in "$@"; do [ "$keep" != "${bundle##*/}" ] || used=yes; done
  if [ "$used" = no ]; then rm -rf "$bundle"; echo "bundle=${bundle##*/}"; fi
done
images() { "$engine" image ls --no-trunc --digests --format "$1" 2>/dev/null | sort -u; }
{
  [ -z "$repository" ] || images '{{.Repository}}@{{.Digest}} {{.Repository}}@{{.Digest}} {{.Repository}}'
  images '{{.Repository}}:{{.Tag}} {{.ID}} {{.Repository}}'
} | while read -r name image from; do
  case "$name" in
    *@*) [ "$from" = "$repository" ] || continue;;
    *) [ "$from" = "$loaded" ] || continue; image=sha256:${image#sha256:};;
  esac
  used=no
  for slot in a b; do [ "$(cat "$base/slots/$slot/image" 2>/dev/null)" != "$image" ] || used=yes; done
  for keep in "$@"; do [ "$keep" != "${image##*@}" ] || used=yes; done
  if [ "$used" = no ] && "$engine" image rm "$name" >/dev/null 2>&1; then echo "image=$image"; fi
done
"""


def prune(change: Change, engine: str, repository: str, keep: Sequence[str]) -> Command:
    """Remove bundles and images, pulled or loaded, that neither slot holds and that are not among the digests to keep."""
    values = (change.layout.base, engine, repository, loaded_name(change.layout.app), *keep)
    return change.script("prune", PRUNE, *values, timeout_s=300.0)
