"""What the daemon said about each stream after each step, beside what is true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.demo.records import Seen, Sent

MISSING = -1


@dataclass(frozen=True, slots=True)
class Predictions:
    """``said: int[stream, step]`` (`MISSING` where no output came) and ``truth: int[stream]`` number ``labels``.

    ``scores`` is float[stream, step, class], not a number where no output came.
    """

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    truth: np.ndarray
    said: np.ndarray
    scores: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """bool[stream, step]: what was said is true."""
        return np.asarray(self.said == self.truth[:, None])

    @property
    def accuracy_along(self) -> np.ndarray:
        """float[step]: the share of streams that are named rightly after so many steps."""
        return np.asarray(self.right.mean(axis=0))

    @property
    def accuracy(self) -> float:
        """The share of streams that are named rightly after their last step."""
        return float(self.accuracy_along[-1])


def collect_predictions(
    keys: Sequence[str], truth: Sequence[str], labels: Sequence[str], sent: Sent, seen: Seen
) -> Predictions:
    """Put every output at its stream and step; an output of another's name or time is left out."""
    steps = max(sent.steps, default=0) + 1
    said = np.full((len(keys), steps), MISSING)
    scores = np.full((len(keys), steps, len(labels)), np.nan)
    names = [keys[stream] for stream in sent.streams]
    columns = zip(names, sent.timestamps_ms, sent.streams, sent.steps, strict=True)
    places = {(name, timestamp): (stream, step) for name, timestamp, stream, step in columns}
    for key, timestamp, value in zip(seen.keys, seen.timestamps_ms, seen.values, strict=True):
        place = places.get((key, timestamp))
        if place is None or value is None or value.label not in labels:
            continue
        said[place] = labels.index(value.label)
        scores[place] = [value.scores.get(label, np.nan) for label in labels]
    return Predictions(tuple(keys), tuple(labels), np.array([labels.index(label) for label in truth]), said, scores)
