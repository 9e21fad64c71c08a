"""The state fingerprint: decides whether a snapshot may be used by this model with these settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from edge_rnn.contract.signature import Manifest

FINGERPRINT_BYTES = 8
"""Length of a fingerprint in bytes; it prefixes every snapshot's key."""


def state_fingerprint(manifest: Manifest, settings: Mapping[str, str]) -> bytes:
    """Digest of the weights, the state's schema, and each setting that changes what a replay computes.

    ``settings`` holds those of the daemon: codec, framing, idle reset, emit. The bundle's name and
    its gate figures do not count: they change nothing that is computed. Returns
    `FINGERPRINT_BYTES` bytes.
    """
    files = {name: digest for name, digest in manifest.files.items() if name != "golden.npz"}
    value: tuple[object, ...] = (
        files,
        manifest.inputs,
        manifest.states,
        manifest.constants,
        dict(sorted(settings.items())),
    )
    if manifest.framing is not None:
        value = (*value, manifest.framing)
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).digest()[:FINGERPRINT_BYTES]
