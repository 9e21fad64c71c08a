"""Which of eight words was said, or none? From samples of sound, in noise, by voices never heard before.

Data: words spoken here by espeak-ng (inside the package espeakng-loader) in several voices, speeds
and pitches, at a random place of a clip of 0.8 s, with noise that is 0 to 20 dB softer than the
word; a clip of the ninth class is noise alone. The generator draws from numpy's PCG64. Split by
voice: five voices are for the test alone, two for early stopping.

The model takes the samples: windows of 384 at 11,025 hertz, of which 256 are new in each step. The
logarithm of the mel energies is its first part and so of the exported graph.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from edge_rnn.models import LogMel, LogMelArguments, SequenceModel
from edge_rnn.models.classification import class_error
from edge_rnn.recipes.answers import Answers, at_the_end, chosen_scores
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.recipes.speech import RATE as SPOKEN_RATE
from edge_rnn.recipes.speech import speech
from edge_rnn.training import Sequences, Settings
from edge_rnn.training.report.shown import Example

WORDS = ("yes", "no", "up", "down", "left", "right", "stop", "go")
LABELS = (*WORDS, "nothing")
VOICES = {
    "train": (
        "en-us",
        "en-us+m1",
        "en-us+m3",
        "en-us+m7",
        "en-us+f2",
        "en-us+f4",
        "en-gb-scotland",
        "en-gb-scotland+m2",
        "en-gb-scotland+f3",
        "en-us+adam",
    ),
    "validation": ("en-us+m5", "en-gb-scotland+f1"),
    "test": ("en-us+m2", "en-gb-scotland+m4", "en-us+f5", "en-us+linda", "en-gb-scotland+steph"),
}
MANNERS = {"train": 3, "validation": 4, "test": 3}
"""How often each voice says each word, each time at another speed and pitch."""

SEEDS = {"train": 41, "validation": 42, "test": 43}
RATE, HOP, CONTEXT = SPOKEN_RATE // 2, 256, 128
LENGTH = 34 * HOP
SOUND = LogMelArguments(rate=RATE, window=HOP + CONTEXT, bands=24)
STREAMS = 40


def clips(part: str) -> tuple[np.ndarray, np.ndarray]:
    """``train``, ``validation`` or ``test``: ``int16[clip, sample]`` and classes ``int64[clip]``. Raises as `speech` does."""
    return _every_clip()[part]


@cache
def _every_clip() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All parts in this order: what espeak-ng says depends a little on what it said before."""
    return {part: _made(part) for part in VOICES}


def _made(part: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(SEEDS[part])
    found, labels = [], []
    for voice in VOICES[part]:
        for label, word in enumerate(LABELS):
            for _ in range(MANNERS[part]):
                clip = np.zeros(LENGTH)
                level = 0.1
                if label < len(WORDS):
                    said = speech().say(word, voice, speed=int(rng.integers(130, 200)), pitch=int(rng.integers(30, 70)))
                    heard = halved(said / 32768)[:LENGTH]
                    begin = int(rng.integers(0, LENGTH - len(heard) + 1))
                    clip[begin : begin + len(heard)] = heard * rng.uniform(0.3, 1.0)
                    level = float(np.sqrt((clip[begin : begin + len(heard)] ** 2).mean()))
                noise = rng.standard_normal(LENGTH) + np.cumsum(rng.standard_normal(LENGTH)) * 0.01
                clip += level * 10 ** (-rng.uniform(0, 20) / 20) * noise / noise.std()
                found.append(np.clip(np.round(clip * 32767), -32768, 32767).astype(np.int16))
                labels.append(label)
    return np.stack(found), np.array(labels, np.int64)


def halved(samples: np.ndarray) -> np.ndarray:
    """Every second sample behind a low-pass filter (a windowed sinc of 31 taps)."""
    place = np.arange(-15, 16)
    taps = np.sinc(place / 2.2) * np.hamming(31)
    return np.convolve(samples, taps / taps.sum(), "same")[::2]


def windows(samples: np.ndarray) -> np.ndarray:
    """``int16[..., sample]`` to ``float32[..., step, HOP + CONTEXT]`` in [-1, 1]; before the beginning there is silence."""
    padded = np.concatenate([np.zeros((*samples.shape[:-1], CONTEXT), np.int16), samples], axis=-1)
    steps = samples.shape[-1] // HOP
    place = HOP * np.arange(steps)[:, None] + np.arange(HOP + CONTEXT)
    return np.asarray(padded[..., place] / np.float32(32768), np.float32)


def _sequences(part: str) -> Sequences:
    samples, labels = clips(part)
    x = torch.from_numpy(windows(samples)).transpose(0, 1).contiguous()
    return Sequences(x, torch.from_numpy(labels).expand(x.shape[0], -1))


def load() -> Parts:
    """Clips; only the last step's answer counts."""
    return Parts(_sequences("train"), _sequences("validation"))


def answers(model: SequenceModel) -> Answers:
    """What is said at the end of each test clip."""
    return at_the_end(model, _sequences("test"))


def score(model: SequenceModel) -> Score:
    """Share of test clips that are named rightly at their last step."""
    return Score("accuracy", answers(model).accuracy, nearest_picture(), higher_is_better=True)


def examples(model: SequenceModel) -> list[Example]:
    """Some of the streams."""
    return [*chosen_scores(model, streams())]


@cache
def nearest_picture() -> float:
    """The baseline's test accuracy: the training clip with the nearest log-mel picture (energies at each step)."""
    picture = LogMel(SOUND)
    with torch.no_grad():
        known, asked = (picture(_sequences(part).x).transpose(0, 1).flatten(1) for part in ("train", "test"))
    nearest = torch.cdist(asked, known).argmin(1).numpy()
    return float((clips("train")[1][nearest] == clips("test")[1]).mean())


def streams() -> list[Stream]:
    """Some test clips, a window a step."""
    samples, labels = clips("test")
    chosen = range(0, len(labels), max(1, len(labels) // STREAMS))
    return [Stream(f"clip-{i:03d}", windows(samples[i]), LABELS[labels[i]]) for i in chosen]


RECIPE = Recipe(
    name="keyword",
    purpose="name the word that was said, in noise, from samples of sound",
    source="made by the recipe's own generator with espeak-ng, inside the package espeakng-loader",
    licence="the clips: Apache-2.0 (this project); espeak-ng: GPL-3.0-or-later; espeakng-loader: MIT",
    baseline="the training clip with the nearest log-mel picture",
    task="classification",
    features=tuple(f"sample_{i:03d}" for i in range(HOP + CONTEXT)),
    labels=LABELS,
    log_mel=SOUND,
    settings=Settings(
        cell="gru",
        hidden=64,
        dropout=0.2,
        inner_dropout=0.2,
        l2=0.001,
        loss_on="last",
        chunk=34,
        batch=16,
        learning_rate=0.004,
        epochs=40,
        patience=12,
    ),
    load=load,
    loss=lambda _: class_error,
    score=score,
    answers=answers,
    examples=examples,
    streams=streams,
)
