"""Words spoken by espeak-ng, whose library and voices come inside the package espeakng-loader."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from edge_rnn.contract.errors import EdgeRnnError, MissingDependency

RATE = 22050
"""Samples a second that espeak-ng gives with its own voices."""

RETRIEVAL, SPEED, PITCH = 1, 1, 3
"""Numbers of espeak-ng's interface: give samples back; the parameters words a minute and pitch (0 to 100)."""

SEED = 1

Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Speech:
    """One process has one espeak-ng; take it from `speech`."""

    def __init__(self) -> None:
        """Raises `MissingDependency` when the package is missing and `EdgeRnnError` when it does not start."""
        try:
            import espeakng_loader
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "this recipe needs espeakng-loader; install it: pip install 'edge-rnn[recipes]'"
            ) from error
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(RETRIEVAL, 0, espeakng_loader.get_data_path().encode(), 0)
        if rate != RATE:
            raise EdgeRnnError(f"espeak-ng started with {rate} samples a second, expected {RATE}; install it again")
        self._pieces: list[np.ndarray] = []
        self._keep = Callback(self._hear)  # the library calls it: it must live as long
        self._library.espeak_SetSynthCallback(self._keep)

    def say(self, word: str, voice: str, *, speed: int, pitch: int) -> np.ndarray:
        """The word's samples, ``int16[time]``. Raises `EdgeRnnError` for a voice that there is not."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise EdgeRnnError(f"espeak-ng has no voice {voice!r}; install espeakng-loader again")
        self._library.espeak_SetParameter(SPEED, speed, 0)
        self._library.espeak_SetParameter(PITCH, pitch, 0)
        self._library.espeak_ng_SetRandSeed(SEED)  # breath and flutter are drawn at random
        self._pieces.clear()
        text = word.encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, 1, 0, 0, None, None)
        self._library.espeak_Synchronize()
        if not self._pieces:
            raise EdgeRnnError(f"espeak-ng said nothing for {word!r} as {voice!r}")
        return np.concatenate(self._pieces)

    def _hear(self, samples: Any, count: int, _: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


@cache
def speech() -> Speech:
    """The process's espeak-ng."""
    return Speech()
