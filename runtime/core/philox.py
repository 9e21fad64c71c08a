"""Random numbers by counter: the number of a seed, a stream and a token is the same whenever it is asked for.

Philox4x32-10 of J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import hashlib

import numpy as np

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
WORD = np.uint64(32)
ROUNDS = 10


def philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Four random words each: ``counter: uint32[n, 4]`` and ``key: uint32[n, 2]`` to ``uint32[n, 4]``."""
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = (key[:, i].astype(np.uint64) for i in range(2))
    for number in range(ROUNDS):
        if number:
            k0, k1 = (k0 + np.uint64(WEYL[0])) & LOW, (k1 + np.uint64(WEYL[1])) & LOW
        first, second = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (second >> WORD) ^ c1 ^ k0, second & LOW, (first >> WORD) ^ c3 ^ k1, first & LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def uniforms(seeds: np.ndarray, streams: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each seed, stream and token (all ``uint64[n]``): ``float64[n]``, 53 random bits."""
    counter = np.stack([tokens & LOW, tokens >> WORD, streams & LOW, streams >> WORD], axis=1)
    words = philox(counter, np.stack([seeds & LOW, seeds >> WORD], axis=1)).astype(np.uint64)
    bits = (words[:, 0] << np.uint64(21)) | (words[:, 1] >> np.uint64(11))
    return np.asarray(bits * 2.0**-53, np.float64)


def stream_number(partition: int, key: bytes) -> int:
    """A stream's 64 bits for `uniforms`, the same on every machine."""
    digest = hashlib.blake2b(partition.to_bytes(4, "little") + key, digest_size=8).digest()
    return int.from_bytes(digest, "little")
