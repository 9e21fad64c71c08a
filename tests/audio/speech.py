"""Made speech: vowels from a glottal pulse train through formants (Klatt, 1980), with consonants of noise and pauses.

Nobody says anything in it; a voice detector takes it for speech, and where the phrases lie is known.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import lfilter

VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
"""First three formants in Hz of men's American English vowels (Peterson and Barney, 1952)."""

BANDWIDTHS = (80.0, 100.0, 140.0)


@dataclass(frozen=True)
class Speech:
    """Samples ``float64[n]`` in [-1, 1] and the phrases in them, in seconds."""

    samples: np.ndarray
    rate: int
    phrases: tuple[tuple[float, float], ...]

    @property
    def pcm(self) -> bytes:
        """Signed 16 bits, little-endian."""
        return np.rint(np.clip(self.samples, -1, 1) * 32767).astype("<i2").tobytes()

    def write(self, path: Path) -> Path:
        """As a WAV."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes(self.pcm)
        return path


def make_speech(seconds: float, *, rate: int = 16000, seed: int = 0, noise: float = 0.002) -> Speech:
    """Phrases of one to two seconds with pauses of about a second, in faint noise."""
    rng = np.random.default_rng(seed)
    total = int(seconds * rate)
    samples = noise * rng.standard_normal(total)
    phrases, at = [], 0.6
    while True:
        length = rng.uniform(1.0, 2.0)
        if at + length > seconds - 0.6:
            break
        begin = int(at * rate)
        phrase = _phrase(rng, length, rate)
        samples[begin : begin + phrase.size] += phrase
        phrases.append((at, at + phrase.size / rate))
        at += length + rng.uniform(0.8, 1.4)
    return Speech(samples, rate, tuple(phrases))


def _phrase(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    pitch = rng.uniform(95, 180)
    parts = []
    while sum(part.size for part in parts) < seconds * rate:
        if rng.random() < 0.6:
            parts.append(_fricative(rng, rate))
        parts.append(_vowel(rng, rng.choice(list(VOWELS)), pitch * rng.uniform(0.9, 1.15), rate))
    sound = np.concatenate(parts)[: int(seconds * rate)]
    edge = int(0.02 * rate)
    sound[:edge] *= np.linspace(0, 1, edge)
    sound[-edge:] *= np.linspace(1, 0, edge)
    return sound


def _vowel(rng: np.random.Generator, name: str, pitch: float, rate: int) -> np.ndarray:
    n = int(rng.uniform(0.09, 0.2) * rate)
    t = np.arange(n) / rate
    glide = pitch * (1 + 0.06 * np.sin(2 * np.pi * 3 * t) - 0.1 * t)
    phase = np.cumsum(glide) / rate
    pulses = np.diff(np.floor(phase), prepend=0.0) + 0.01 * rng.standard_normal(n)
    sound = lfilter([1.0], [1.0, -0.95], pulses)
    for formant, width in zip(VOWELS[name], BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * width / rate)
        turn = 2 * np.pi * formant * rng.uniform(0.95, 1.05) / rate
        sound = lfilter([1 - radius], [1.0, -2 * radius * np.cos(turn), radius**2], sound)
    envelope = np.minimum(1, np.minimum(np.arange(n), n - 1 - np.arange(n)) / (0.015 * rate))
    return 0.25 * envelope * sound / max(1e-9, float(np.abs(sound).max()))


def _fricative(rng: np.random.Generator, rate: int) -> np.ndarray:
    n = int(rng.uniform(0.04, 0.09) * rate)
    return 0.03 * np.hanning(n) * np.diff(rng.standard_normal(n + 1))
