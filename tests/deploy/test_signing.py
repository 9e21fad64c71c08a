"""Signed releases: checked by the library here and by openssl alone on a device; what was altered runs nowhere."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from deploy.release.release import encode_release, load_release, parse_release, release_id
from deploy.release.signing import read_key, read_signature, sign_release, verify_release
from deploy.remote.delivery import VERIFIER
from edge_rnn.contract.errors import ReleaseRefused, UsageError
from tests.deploy.fleets import release_of


def key_pair(folder: Path, name: str, curve: str = "prime256v1") -> tuple[Path, Path]:
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    subprocess.run(["openssl", "ecparam", "-name", curve, "-genkey", "-noout", "-out", private], check=True)
    subprocess.run(["openssl", "ec", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return key_pair(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "release.json").write_bytes(encode_release(release_of("x")))
    sign_release(folder, keys[0])
    return folder


def on_device(folder: Path, key: Path, image: str) -> subprocess.CompletedProcess[str]:
    """What a unit runs before each start, on a slot made from a signed release."""
    slot = folder / "slot"
    slot.mkdir(exist_ok=True)
    signature = read_signature(folder / "release.sig")
    for name, content in (("release.dsse", signature.dsse), ("release.sig.der", signature.der)):
        (slot / name).write_bytes(content)
    (slot / "release.json").write_bytes((folder / "release.json").read_bytes())
    return verify_slot(slot, key, image)


def verify_slot(slot: Path, key: Path, image: str) -> subprocess.CompletedProcess[str]:
    script = slot.parent / "verify"
    script.write_text(VERIFIER)
    return subprocess.run(["sh", script, slot, key, image], capture_output=True, text=True, check=False)


IMAGE = f"r.test/edge@{release_of('x').images[0].digest}"


def test_signed_release_passes_the_library_and_a_device_with_openssl_alone(signed, keys):
    verify_release(signed, keys[1])
    done = on_device(signed, keys[1], IMAGE)
    assert done.returncode == 0, done.stderr


def test_release_altered_in_one_byte_is_refused_by_both(signed, keys):
    assert on_device(signed, keys[1], IMAGE).returncode == 0
    path = signed / "release.json"
    path.write_bytes(path.read_bytes().replace(b"0.1.0", b"0.1.1"))
    with pytest.raises(ReleaseRefused, match="altered or is signed by another key"):
        verify_release(signed, keys[1])
    done = on_device(signed, keys[1], IMAGE)
    assert done.returncode == 1
    assert "release.json was altered after it was signed" in done.stderr


def test_release_signed_by_another_key_is_refused_by_both(signed, tmp_path):
    _, other = key_pair(tmp_path, "other")
    with pytest.raises(ReleaseRefused, match="another key"):
        verify_release(signed, other)
    assert "the signature does not belong to" in on_device(signed, other, IMAGE).stderr


def test_unsigned_release_is_refused_by_both(signed, keys):
    assert on_device(signed, keys[1], IMAGE).returncode == 0
    (signed / "slot" / "release.sig.der").unlink()
    assert "the release is not signed" in verify_slot(signed / "slot", keys[1], IMAGE).stderr
    (signed / "release.sig").unlink()
    with pytest.raises(ReleaseRefused, match="is not signed, but the fleet has a key"):
        verify_release(signed, keys[1])


def test_image_or_bundle_that_the_release_does_not_name_is_refused_on_the_device(signed, keys):
    assert "does not name the image" in on_device(signed, keys[1], f"r.test/edge@sha256:{'0' * 64}").stderr
    bundle = signed / "slot" / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    assert "does not name this bundle" in verify_slot(signed / "slot", keys[1], IMAGE).stderr


def test_key_that_devices_could_not_check_is_refused_when_signing(tmp_path):
    private, _ = key_pair(tmp_path, "long", "secp384r1")
    (tmp_path / "release.json").write_bytes(encode_release(release_of("x")))
    with pytest.raises(ReleaseRefused, match="use a P-256 key"):
        sign_release(tmp_path, private)
    (tmp_path / "none.key").write_text("no key")
    with pytest.raises(UsageError, match="cannot be signed with"):
        sign_release(tmp_path, tmp_path / "none.key")
    with pytest.raises(UsageError, match="no public key in PEM"):
        read_key(private)


def test_release_is_known_by_the_digest_of_its_file(tmp_path):
    data = encode_release(release_of("x"))
    (tmp_path / "release.json").write_bytes(data)
    release, read = load_release(tmp_path)
    assert release == release_of("x")
    assert release_id(read) == f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", encode_release(release_of("x")).replace(b'"format": 1', b'"format": 2')]
)
def test_file_that_is_no_release_is_refused(data):
    with pytest.raises(ReleaseRefused):
        parse_release(data)


def test_digest_that_is_none_is_refused():
    data = encode_release(release_of("x")).replace(release_of("x").images[0].digest.encode(), b"latest")
    with pytest.raises(ReleaseRefused, match="expected sha256"):
        parse_release(data)
