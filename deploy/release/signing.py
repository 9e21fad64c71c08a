"""Signatures of releases by OpenSSF model-signing, as devices check them: with openssl alone.

model-signing writes a sigstore bundle: a DSSE envelope around an in-toto statement that names the
sha256 of every file of the release, signed with ECDSA. What was signed is DSSE's pre-authentication
encoding (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md), so a device that has
openssl needs neither Python nor the library: it is sent that text and the bare signature.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from deploy.release.release import RELEASE, SIGNATURE
from edge_rnn.contract.errors import MissingDependency, ReleaseRefused, UsageError

P256_DER_BYTES = 72
"""The longest ECDSA signature by P-256 in DER."""

INSTALL = "pip install 'edge-rnn[sign]'"
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----\s+[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*")

_RUN = """
import sys
from pathlib import Path
try:
    import model_signing.{module} as library
except ImportError as error:
    print(error, file=sys.stderr); sys.exit(77)
key, folder, signature = (Path(word) for word in sys.argv[1:4])
library.Config().use_elliptic_key_{role}({keyword}=key).{verb}(folder, signature)
"""
"""The library runs in a process of its own: it imports 30 MB, and its failures are many exceptions."""


@dataclass(frozen=True)
class Signature:
    """``bundle``: the file that model-signing wrote; ``dsse`` and ``der``: what openssl compares."""

    bundle: bytes
    dsse: bytes
    der: bytes


class _Signature(msgspec.Struct):
    sig: str


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


class _SigstoreBundle(msgspec.Struct, rename="camel"):
    dsse_envelope: _Envelope


def sign_release(folder: Path, key: Path) -> Path:
    """Sign ``release.json`` of a directory with a private key (PEM, P-256); returns the signature's path.

    Raises `MissingDependency`, `UsageError`.
    """
    signature = folder / SIGNATURE
    status, said = _library("signing", "signer", "private_key", "sign", key, _only_release(folder), signature)
    if status:
        raise UsageError(f"{folder} cannot be signed with {key}: {said}; give an unencrypted P-256 key in PEM")
    read_signature(signature)
    return signature


def verify_release(folder: Path, key: Path) -> Signature:
    """Check the signature of a directory's release. Raises `ReleaseRefused`, `MissingDependency`, `UsageError`."""
    signature = folder / SIGNATURE
    if not signature.exists():
        raise ReleaseRefused(
            f"{folder} is not signed, but the fleet has a key; sign it: edge-rnn deploy push --sign KEY"
        )
    read_key(key)
    status, said = _library("verifying", "verifier", "public_key", "verify", key, _only_release(folder), signature)
    if status:
        raise ReleaseRefused(f"{folder}: the release was altered or is signed by another key than {key}: {said}")
    return read_signature(signature)


def read_key(path: Path) -> tuple[bytes, str]:
    """A public key file and the sha256 by which a device knows it. Raises `UsageError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from error
    if not _PEM.fullmatch(data):
        raise UsageError(f"{path} is no public key in PEM; make one: openssl ec -in KEY -pubout -out {path}")
    pem = data.rstrip() + b"\n"
    return pem, hashlib.sha256(pem).hexdigest()


def read_signature(path: Path) -> Signature:
    """Take a signature apart into what openssl needs. Raises `ReleaseRefused`."""
    try:
        data = path.read_bytes()
        envelope = msgspec.json.decode(data, type=_SigstoreBundle).dsse_envelope
        payload = base64.b64decode(envelope.payload, validate=True)
        (signature,) = envelope.signatures
        der = base64.b64decode(signature.sig, validate=True)
    except (OSError, ValueError) as error:
        raise ReleaseRefused(f"{path} is no signature by model-signing: {error}; sign the release again") from error
    if len(der) > P256_DER_BYTES:
        raise ReleaseRefused(f"{path} was signed with a longer curve than P-256, which devices check; use a P-256 key")
    kind = envelope.payload_type.encode()
    return Signature(data, b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload), der)


def _only_release(folder: Path) -> Path:
    path = folder / RELEASE
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give the directory that edge-rnn deploy push wrote")
    return path


def _library(module: str, role: str, keyword: str, verb: str, *paths: Path) -> tuple[int, str]:
    program = _RUN.format(module=module, role=role, keyword=keyword, verb=verb)
    words = [sys.executable, "-c", program, *(str(path) for path in paths)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stderr.strip().splitlines()
    if done.returncode == 77:
        raise MissingDependency(f"signing needs model-signing ({lines[-1] if lines else 'not installed'}): {INSTALL}")
    return done.returncode, lines[-1] if lines else ""
