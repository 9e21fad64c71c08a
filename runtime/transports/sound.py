"""Sound files as records: a WAV, or raw samples as a microphone gives them (``.pcm``), cut into pieces.

The file's name without its ending is the key. A piece is so many samples of 16 bits; how long the
pieces are changes no result.
"""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_rnn.contract.errors import MissingDependency, UsageError

SOUND = (".wav", ".pcm")
PIECE_S = 0.1
FULL_SCALE = 32768


def read_pieces(path: Path, rate: int, *, resample: bool = False) -> Iterator[bytes]:
    """The samples of a file at ``rate`` samples a second (0: at its own), signed 16 bits, piece by piece.

    A WAV at another rate is brought to it by soxr (its highest quality) if ``resample``, else refused naming both rates.
    Raises `UsageError`, `MissingDependency`.
    """
    if path.suffix.lower() == ".pcm":
        samples, found = _raw(path), rate or 16000
    else:
        samples, found = _wav(path)
    if rate and found != rate:
        if not resample:
            raise UsageError(
                f"{path} has {found} samples a second, the model takes {rate}; --resample brings it to that rate"
            )
        samples, found = _resampled(samples, found, rate), rate
    step = max(1, round(PIECE_S * found))
    for begin in range(0, samples.size, step):
        yield samples[begin : begin + step].astype("<i2").tobytes()


def _raw(path: Path) -> np.ndarray:
    data = path.read_bytes()
    if len(data) % 2:
        raise UsageError(f"{path} has {len(data)} bytes, expected samples of 2 bytes each (signed, little-endian)")
    return np.frombuffer(data, "<i2")


def _wav(path: Path) -> tuple[np.ndarray, int]:
    try:
        with wave.open(str(path)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise UsageError(f"{path} is not a WAV of whole numbers: {error}; convert it to 16-bit PCM") from error
    if width != 2:
        raise UsageError(f"{path} has {8 * width} bits a sample, expected 16; convert it to 16-bit PCM")
    if channels != 1:
        raise UsageError(f"{path} has {channels} channels, a stream has one; give each channel a file of its own")
    return np.frombuffer(data, "<i2"), rate


def _resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    try:
        import soxr
    except ImportError as error:
        raise MissingDependency(
            "--resample needs soxr, which is not installed; pip install 'edge-rnn[audio]'"
        ) from error
    found = soxr.resample(samples.astype(np.float64) / FULL_SCALE, rate, wanted, quality="VHQ")
    return np.asarray(np.clip(np.rint(found * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype("<i2"))
