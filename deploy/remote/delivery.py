"""What brings a release onto a device, as pure functions from data to `Command`: files, images, bundles, units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy.remote.change import Change
from deploy.remote.command import Command
from deploy.remote.layout import CONTAINER_USER, ETC, RUN, Layout, Slot, loaded_name


def prepare(change: Change) -> Command:
    """Make the directories, the state directory for the container's user, and a file that makes room on a full disk."""
    text = """
base=$1
mkdir -p "$base/slots/a" "$base/slots/b" "$base/bundles" "$base/state" "$3" "$4"
chmod 755 "$base" "$base/slots" "$base/bundles"
chown "$2:$2" "$base/state"; chmod 750 "$base/state"
[ -e "$base/reserve" ] || head -c 65536 /dev/urandom >"$base/reserve"
"""
    return change.script("prepare", text, change.layout.base, str(CONTAINER_USER), ETC, RUN)


def put(change: Change, what: str, path: str, content: bytes, mode: str = "644", group: int = 0) -> Command:
    """Write a file whole or not at all: beside its place, synced, renamed. The content may hold secrets."""
    text = """
umask 077; cat >"$1.new"; chown "0:$3" "$1.new"; chmod "$2" "$1.new"
sync "$1.new" 2>/dev/null || sync
mv -f "$1.new" "$1"
"""
    return change.script(f"write {what}", text, path, mode, str(group), stdin=content)


def put_key(change: Change, pem: bytes) -> Command:
    """Pin the key of releases. Another key that is already there is never replaced: status 1."""
    text = """
new=$(cat)
if [ -e "$1" ]; then
  [ "$(cat "$1")" = "$new" ] || { echo "the device trusts another key ($1); replace it there by hand" >&2; exit 1; }
else mkdir -p "${1%/*}"; printf '%s\\n' "$new" >"$1.new"; chmod 644 "$1.new"; mv -f "$1.new" "$1"; fi
"""
    return change.script("pin key", text, change.layout.key, stdin=pem)


VERIFIER = """#!/bin/sh
# Refuses a slot whose release is not signed by KEY, or that names other digests than the signed ones.
# usage: verify SLOT KEY IMAGE
set -eu
refuse() { echo "edge-rnn: refused: $1" >&2; exit 1; }
slot=$1 key=$2 image=$3
[ -s "$slot/release.sig.der" ] || refuse "the release is not signed"
openssl dgst -sha256 -verify "$key" -signature "$slot/release.sig.der" "$slot/release.dsse" >/dev/null 2>&1 ||
  refuse "the signature does not belong to $key"
sum=$(sha256sum "$slot/release.json"); sum=${sum%% *}
grep -qF "\\"$sum\\"" "$slot/release.dsse" || refuse "release.json was altered after it was signed"
grep -qF "\\"sha256:${image##*sha256:}\\"" "$slot/release.json" || refuse "the release does not name the image $image"
if [ -e "$slot/bundle/manifest.json" ]; then
  sum=$(sha256sum "$slot/bundle/manifest.json"); sum=${sum%% *}
  grep -qF "\\"sha256:$sum\\"" "$slot/release.json" || refuse "the release does not name this bundle"
fi
"""
"""What the unit runs before each start. Only openssl and coreutils: it must not rest on what it checks."""


def verify_slot(layout: Layout, slot: Slot, image: str) -> Command:
    """Check the signature of what lies in a slot, as its unit will before each start."""
    return Command("verify signature", ("sh", layout.verifier, layout.slot(slot), layout.key, image))


def engine_of(engine: str) -> str:
    """``podman`` or ``docker``; the words that follow are the same for both."""
    return "docker" if engine == "docker" else "podman"


PULL = """
engine=$1 image=$2 tls=$3 work=$4
"$engine" image inspect "$image" >/dev/null 2>&1 && { cat >/dev/null; exit 0; }
rm -rf "$work"; auth=$work/config.json; (umask 077; mkdir -p "$work"; cat >"$auth")
status=0
if [ "$engine" = podman ]; then
  if [ -s "$auth" ]; then set -- --authfile "$auth"; else set --; fi
  podman pull --quiet --tls-verify="$tls" "$@" "$image" >/dev/null || status=$?
else
  if [ -s "$auth" ]; then set -- --config "$work"; else set --; fi
  docker "$@" pull --quiet "$image" >/dev/null || status=$?
fi
rm -rf "$work"; exit "$status"
"""


def pull_image(change: Change, engine: str, image: str, *, insecure: bool = False, auth: bytes = b"") -> Command:
    """Pull an image by digest, unless it is there. ``auth`` is a registry's login file: by standard input into ``/run``."""
    tls, work = "false" if insecure else "true", f"{RUN}/{change.layout.app}.login"
    return change.script("pull image", PULL, engine_of(engine), image, tls, work, stdin=auth, timeout_s=1800.0)


def load_image(change: Change, engine: str, image: str, archive: Path) -> Command:
    """Load an image from an archive (.tar.gz) that is streamed from the operator; it must be the one the unit runs."""
    text = """
engine=$1 image=$2 name=$3
"$engine" image inspect "$image" >/dev/null 2>&1 && { cat >/dev/null; exit 0; }
gzip -dc | "$engine" load --quiet >/dev/null
"$engine" image inspect "$image" >/dev/null || { echo "what was loaded is not $image" >&2; exit 1; }
"$engine" tag "$image" "$name"
"""
    name = f"{loaded_name(change.layout.app)}:{image.removeprefix('sha256:')[:12]}"
    command = change.script("load image", text, engine_of(engine), image, name, timeout_s=3600.0)
    return replace(command, stdin_file=archive)


def pull_bundle(
    change: Change,
    engine: str,
    image: str,
    repository: str,
    artifact: str,
    digest: str,
    *,
    insecure: bool = False,
    auth: bytes = b"",
) -> Command:
    """Pull a bundle alone, with the runtime that is on the device; what came of it before is used again.

    ``auth`` is a registry's login file and goes by standard input.
    """
    text = """
engine=$1 image=$2 repository=$3 artifact=$4 target=$5 insecure=$6
if [ -e "$target/manifest.json" ]; then cat >/dev/null; exit 0; fi
"$engine" run --rm --interactive --network host --read-only --cap-drop ALL --cap-add DAC_OVERRIDE --user 0:0 --pull never \\
  --volume "${target%/*}:/bundles:rw" --entrypoint python3 "$image" \\
  -m deploy.registry.fetch "$repository" "$artifact" "/bundles/${target##*/}" $insecure
"""
    flag = "--insecure" if insecure else ""
    values = (engine_of(engine), image, repository, artifact, change.layout.bundle(digest), flag)
    return change.script("pull bundle", text, *values, stdin=auth, timeout_s=1800.0)


def put_bundle(change: Change, digest: str, archive: bytes) -> Command:
    """Unpack a bundle (tar, streamed from the operator) into its place, whole or not at all."""
    text = """
target=$1
if [ -e "$target/manifest.json" ]; then cat >/dev/null; exit 0; fi
rm -rf "$target.new"; mkdir -p "$target.new"; tar -xf - -C "$target.new" --no-same-owner
[ "$(sha256sum "$target.new/manifest.json" | cut -c 1-64)" = "${target##*/}" ]
sync; mv "$target.new" "$target"
"""
    return change.script("put bundle", text, change.layout.bundle(digest), stdin=archive, timeout_s=1800.0)


def fill_slot(change: Change, slot: Slot, image: str, release: str, bundle: str | None) -> Command:
    """Write into a slot what it runs: the image, the release, and the bundle where it is not in the image."""
    text = """
slot=$1
printf '%s\\n' "$2" >"$slot/image"; printf '%s\\n' "$3" >"$slot/release"
rm -f "$slot/bundle"; if [ -n "$4" ]; then ln -s "$4" "$slot/bundle"; fi
sync
"""
    values = (change.layout.slot(slot), image, release, bundle or "")
    return change.script("fill slot", text, *values, timeout_s=300.0)  # a slow disk may have an image to write yet


def empty_slot(change: Change, slot: Slot) -> Command:
    """Take out of a slot what it held; it must not be the one that serves."""
    text = """
[ "$(readlink "$1")" != "slots/$2" ] || { echo "slot $2 serves" >&2; exit 1; }
systemctl stop "$4" 2>/dev/null || true
rm -f "$5"; rm -rf "$3"; mkdir -p "$3"
"""
    layout = change.layout
    values = (layout.active, slot, layout.slot(slot), f"{layout.unit(slot)}.service", layout.marker(slot))
    return change.script("empty slot", text, *values)


def golden(engine: str, image: str, bundle: str | None, *, accelerator: Sequence[str] = ()) -> Command:
    """Run a bundle's golden vectors on the device, in the image that will serve it, without a network."""
    mount = () if bundle is None else ("--volume", f"{bundle}:/bundle:ro")
    words = (
        *(engine_of(engine), "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--tmpfs", "/tmp:rw,size=64m", "--pull", "never"),
        *("--user", f"{CONTAINER_USER}:{CONTAINER_USER}", *accelerator, *mount, image, "verify", "/bundle", "--json"),
    )
    return Command("golden vectors", words, timeout_s=600.0)


def install_unit(change: Change, slot: Slot, text: str, path: str, stale: str, *, enable: bool) -> Command:
    """Write a slot's unit and enable it; ``stale`` is the other kind of unit that may be there from before.

    A quadlet is enabled by its generator: ``enable`` is for a ``.service``.
    """
    body = """
path=$1 stale=$2 unit=$3 enable=$4
mkdir -p "${path%/*}"; rm -f "$stale"
umask 022; cat >"$path.new"; chmod 644 "$path.new"; mv -f "$path.new" "$path"
systemctl daemon-reload
[ "$enable" = no ] || systemctl enable --quiet "$unit"
sync
"""
    unit = f"{change.layout.unit(slot)}.service"
    return change.script("install unit", body, path, stale, unit, "yes" if enable else "no", stdin=text.encode())
