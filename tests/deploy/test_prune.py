"""What prune removes: a shell runs the script, and podman is a list of images."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deploy.remote.audit import Entry
from deploy.remote.change import Change, acquire_lock
from deploy.remote.delivery import load_image
from deploy.remote.layout import Layout
from deploy.remote.looking import prune

REPOSITORY = "registry.test:5000/edge"
SERVES, BEFORE, OLD, LOADED = (f"sha256:{digit * 64}" for digit in "1234")
PODMAN = """#!/bin/sh
# Each line of the list: repository, tag, digest, id.
case "$1 $2" in
  "image ls")
    for format; do :; done
    while read -r repository tag digest id; do
      case "$format" in
        *Digest*) echo "$repository@$digest $repository@$digest $repository";;
        *) echo "$repository:$tag $id $repository";;
      esac
    done <"$IMAGES";;
  "image inspect") grep -q " $3$" "$IMAGES";;
  "image rm") echo "$3" >>"$IMAGES.removed";;
  "load "*) cat >/dev/null; echo "<none> <none> sha256:x $(cat "$IMAGES.loads")" >>"$IMAGES";;
  "tag "*) echo "${3%:*} ${3##*:} sha256:x $2" >>"$IMAGES";;
esac
"""


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Change:
    """On a device that holds two releases and a podman that knows the images of ``IMAGES``."""
    program = tmp_path / "bin/podman"
    program.parent.mkdir()
    program.write_text(PODMAN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("IMAGES", str(tmp_path / "images"))
    (tmp_path / "images").write_text("")
    (tmp_path / "images.removed").write_text("")
    layout = Layout("activity", str(tmp_path / "root"))
    run(acquire_lock(layout, "one", "me", "r").argv)
    for slot, image in (("a", SERVES), ("b", f"{REPOSITORY}@{BEFORE}")):
        folder = tmp_path / "root/activity/slots" / slot
        folder.mkdir(parents=True)
        (folder / "image").write_text(f"{image}\n")
    return Change(layout, Entry(time="t", who="w", what="", device="d", rollout="r"))


def run(argv: tuple[str, ...], stdin: bytes = b"") -> list[str]:
    done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().splitlines()


def test_images_that_no_slot_needs_are_removed_whether_they_were_pulled_or_loaded(change, tmp_path):
    images = [
        ("localhost/edge-rnn/activity", "111111111111", "sha256:x", SERVES),
        ("localhost/edge-rnn/activity", "444444444444", "sha256:y", LOADED.removeprefix("sha256:")),
        ("localhost/edge-rnn/other", "444444444444", "sha256:y", LOADED),
        (REPOSITORY, "<none>", BEFORE, "sha256:b"),
        (REPOSITORY, "<none>", OLD, "sha256:o"),
        ("registry.test:5000/else", "<none>", OLD, "sha256:o"),
    ]
    (tmp_path / "images").write_text("".join(f"{' '.join(image)}\n" for image in images))
    told = run(prune(change, "podman", REPOSITORY, []).argv)
    removed = (tmp_path / "images.removed").read_text().split()
    assert sorted(removed) == ["localhost/edge-rnn/activity:444444444444", f"{REPOSITORY}@{OLD}"]
    assert sorted(told) == [f"image={REPOSITORY}@{OLD}", f"image={LOADED}"]


def test_image_that_is_kept_or_was_loaded_where_there_is_no_registry_is_told_apart(change, tmp_path):
    (tmp_path / "images").write_text(
        f"localhost/edge-rnn/activity 4 sha256:y {LOADED}\n{REPOSITORY} 3 {OLD} sha256:o\n"
    )
    assert run(prune(change, "podman", "", [LOADED]).argv) == []
    assert run(prune(change, "podman", "", []).argv) == [f"image={LOADED}"]


def test_image_that_comes_over_ssh_is_named_so_that_prune_finds_it(change, tmp_path):
    (tmp_path / "images.loads").write_text(LOADED)
    run(load_image(change, "podman", LOADED, tmp_path / "archive").argv, b"\x1f\x8b")
    assert f"localhost/edge-rnn/activity {'4' * 12} sha256:x {LOADED}" in (tmp_path / "images").read_text()
