"""Front ends: what a model hears of a window of samples, ``mfcc:bands=40,coefficients=13``.

- ``stft``     the Fourier transform of the window under Hann's bell: real parts of all bins, then imaginary parts
- ``power``    its squares, a number a bin
- ``log-mel``  the power in triangles on the mel scale, its logarithm
- ``mfcc``     the orthonormal cosine transform (DCT-II) of that, its first coefficients

S. Davis, P. Mermelstein, "Comparison of parametric representations for monosyllabic word recognition" (1980).
With ``mel=slaney,log=db,floor=1e-10`` they are librosa's (``center=False``, ``top_db=None``). A transform is a
product with a fixed matrix, so that a graph needs nothing but products, a square and a logarithm.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec
import numpy as np

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.framing import Framing

Kind = Literal["stft", "power", "log-mel", "mfcc"]
EXAMPLE = "mfcc:bands=40,coefficients=13"
LARGEST = 2**15


class FrontEnd(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``window`` samples at ``rate`` hertz in, `width` numbers out.

    ``fft``: samples of the transform, of which those beyond the window are zero (0: the window's). ``bands``
    triangles from ``lowest`` to ``highest`` hertz (0: half the rate), on the mel scale of ``htk`` (2595 log10(1 +
    f / 700), each triangle's peak 1) or ``slaney`` (linear to 1 kHz, each triangle's area alike). ``log``: ``ln`` is
    the natural logarithm of the energy plus ``floor``, ``db`` ten times the decimal one of the greater of the two.
    """

    kind: Kind
    window: int
    rate: int = 0
    fft: int = 0
    bands: int = 40
    lowest: float = 0.0
    highest: float = 0.0
    mel: Literal["htk", "slaney"] = "htk"
    log: Literal["ln", "db"] = "ln"
    floor: float = 1e-6
    coefficients: int = 13

    @property
    def transformed(self) -> int:
        """Samples of the transform."""
        return self.fft or self.window

    @property
    def bins(self) -> int:
        """Pitches that the transform tells apart."""
        return self.transformed // 2 + 1

    @property
    def width(self) -> int:
        """Numbers a window."""
        return {"stft": 2 * self.bins, "power": self.bins, "log-mel": self.bands, "mfcc": self.coefficients}[self.kind]

    def spectrum(self) -> np.ndarray:
        """Samples to real and imaginary parts: float64[window, 2 * bins]."""
        step = np.arange(self.window)
        angle = 2 * np.pi * step[:, None] * np.arange(self.bins) / self.transformed
        hann = (0.5 - 0.5 * np.cos(2 * np.pi * step / self.window))[:, None]
        return np.concatenate([hann * np.cos(angle), -hann * np.sin(angle)], axis=1)

    def energies(self) -> np.ndarray:
        """Squares of real and imaginary parts to power or mel energies: float64[2 * bins, bins or bands]."""
        bank = np.eye(self.bins) if self.kind == "power" else self._mel_bank()
        return np.concatenate([bank, bank])

    def cosines(self) -> np.ndarray:
        """Logarithms to coefficients: float64[bands, coefficients]."""
        place = (np.arange(self.bands)[:, None] + 0.5) * np.arange(self.coefficients) * np.pi / self.bands
        scale = np.where(np.arange(self.coefficients) == 0, np.sqrt(1 / self.bands), np.sqrt(2 / self.bands))
        return np.asarray(np.cos(place) * scale)

    def _mel_bank(self) -> np.ndarray:
        """Triangles that overlap by half, evenly spaced in mel: float64[bins, bands]."""
        highest = self.highest or self.rate / 2
        to_mel, to_hertz = (_htk, _htk_back) if self.mel == "htk" else (_slaney, _slaney_back)
        ends = to_mel(np.array([self.lowest, highest]))
        hertz = to_hertz(np.linspace(ends[0], ends[1], self.bands + 2))
        pitch = np.arange(self.bins)[:, None] * self.rate / self.transformed
        rising = (pitch - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
        falling = (hertz[2:] - pitch) / (hertz[2:] - hertz[1:-1])
        bank = np.maximum(0, np.minimum(rising, falling))
        return np.asarray(bank if self.mel == "htk" else bank * 2 / (hertz[2:] - hertz[:-2]))


def parse_front_end(text: str, framing: Framing | None) -> FrontEnd:
    """Read ``KIND:name=value,...``; window and rate are those of the framing. Raises `UsageError`."""

    def refuse(what: str) -> UsageError:
        return UsageError(f"--front-end {text!r}: {what}; give e.g. {EXAMPLE}")

    kind, _, rest = text.partition(":")
    if kind not in get_args(Kind):
        raise refuse(f"{kind!r} is none of {', '.join(get_args(Kind))}")
    if framing is None:
        raise refuse("it hears windows of samples, so --framing hop=N,context=N,rate=N goes with it")
    given: dict[str, Any] = {}
    for part in rest.split(",") if rest else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name in given:
            raise refuse(f"{part!r} is not name=value, or stands twice")
        given[name] = value
    if fixed := [name for name in ("kind", "window", "rate") if name in given]:
        raise refuse(f"{fixed[0]} is said by the framing")
    fields = {**given, "kind": kind, "window": framing.width, "rate": framing.rate}
    try:
        found = msgspec.convert(fields, FrontEnd, strict=False)
    except msgspec.ValidationError as error:
        raise refuse(str(error)) from error
    if problem := _problem(found):
        raise refuse(problem)
    return found


def _problem(front: FrontEnd) -> str | None:
    """What does not go together."""
    if front.fft and not front.window <= front.fft <= LARGEST:
        return f"fft is {front.fft}, expected {front.window} (the window) to {LARGEST}"
    if front.window > LARGEST:
        return f"the window has {front.window} samples, expected up to {LARGEST}"
    if front.kind in ("stft", "power"):
        return None
    if not front.rate:
        return "mel bands need a rate: --framing hop=N,context=N,rate=N"
    if not 0 <= front.lowest < (front.highest or front.rate / 2) <= front.rate / 2:
        return f"bands from {front.lowest:g} to {front.highest:g} hertz, expected within 0 to {front.rate / 2:g}"
    if not 1 <= front.bands <= front.bins:
        return f"bands is {front.bands}, expected 1 to {front.bins}"
    if front.kind == "mfcc" and not 1 <= front.coefficients <= front.bands:
        return f"coefficients is {front.coefficients}, expected 1 to {front.bands} (the bands)"
    if front.floor <= 0:
        return f"floor is {front.floor:g}, expected more than 0"
    empty = np.flatnonzero(front.energies().sum(axis=0) == 0)
    if empty.size:
        return (
            f"band {empty[0]} of {front.bands} holds no bin of {front.transformed} samples; fewer bands or a larger fft"
        )
    return None


def _htk(hertz: np.ndarray) -> np.ndarray:
    return np.asarray(2595 * np.log10(1 + hertz / 700))


def _htk_back(mel: np.ndarray) -> np.ndarray:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


STRAIGHT, KNEE_HZ, STEEP = 200 / 3, 1000.0, np.log(6.4) / 27
"""Slaney's scale (Auditory Toolbox, 1998): hertz a mel below the knee, and the logarithm of the ratio above it."""


def _slaney(hertz: np.ndarray) -> np.ndarray:
    knee = KNEE_HZ / STRAIGHT
    above = knee + np.log(np.maximum(hertz, KNEE_HZ) / KNEE_HZ) / STEEP
    return np.where(hertz < KNEE_HZ, hertz / STRAIGHT, above)


def _slaney_back(mel: np.ndarray) -> np.ndarray:
    knee = KNEE_HZ / STRAIGHT
    return np.where(mel < knee, mel * STRAIGHT, KNEE_HZ * np.exp(STEEP * (np.maximum(mel, knee) - knee)))
