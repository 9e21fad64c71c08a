"""A trial of a step function: what is run, on what inputs, split how, and the record of it.

Pure: no engine, file or clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_rnn.contract.signature import Manifest
from edge_rnn.contract.stepgraph import Arrays, Step


@dataclass(frozen=True)
class Subject:
    """What is examined: a step function, the first states of one stream, and the names for messages.

    ``initial`` holds one ``[*row]`` a state. ``has_time`` says whether one call may take several steps.
    """

    step: Step
    initial: tuple[np.ndarray, ...]
    outputs: tuple[str, ...]
    states: tuple[str, ...]
    has_time: bool

    @classmethod
    def of(cls, manifest: Manifest, step: Step, initial: Sequence[np.ndarray]) -> Subject:
        """The step function of a manifest; ``initial`` in manifest order."""
        return cls(
            step=step,
            initial=tuple(initial),
            outputs=tuple(spec.name for spec in manifest.outputs),
            states=tuple(spec.name for spec in manifest.states),
            has_time=manifest.has_time,
        )


@dataclass(frozen=True)
class Record:
    """What a run gave: ``outputs`` ``[time, batch, *row]``, and by number of steps taken the states ``[batch, *row]``."""

    outputs: Arrays
    states: Mapping[int, Arrays]

    def stream(self, index: int) -> Record:
        """The same record of one stream only."""
        return Record(
            [value[:, index : index + 1] for value in self.outputs],
            {step: [value[index : index + 1] for value in values] for step, values in self.states.items()},
        )


def run_chunks(subject: Subject, inputs: Sequence[np.ndarray], chunks: Sequence[int]) -> Record:
    """Run fresh streams over ``inputs`` ``[time, batch, *row]`` in calls of ``chunks`` steps each."""
    states = [np.repeat(row[None], inputs[0].shape[1], axis=0) for row in subject.initial]
    pieces: list[Arrays] = []
    after: dict[int, Arrays] = {}
    start = 0
    for chunk in chunks:
        outputs, states = subject.step([value[start : start + chunk] for value in inputs], states)
        start += chunk
        pieces.append(outputs)
        after[start] = states
    return Record([np.concatenate(parts) for parts in zip(*pieces, strict=True)], after)


def split_at_random(rng: np.random.Generator, steps: int) -> list[int]:
    """Sizes of random chunks that together have ``steps`` steps."""
    cuts = np.flatnonzero(rng.random(steps - 1) < rng.uniform(0.02, 0.5)) + 1
    return [int(size) for size in np.diff([0, *cuts, steps])]


def split_at(marks: Sequence[int], steps: int, longest: int) -> list[int]:
    """Sizes of chunks of at most ``longest`` steps that end at each of ``marks`` and at ``steps``."""
    chunks: list[int] = []
    start = 0
    for mark in sorted({*(mark for mark in marks if 0 < mark <= steps), steps}):
        while start < mark:
            chunks.append(min(longest, mark - start))
            start += chunks[-1]
    return chunks


def draw_inputs(samples: Sequence[np.ndarray], steps: int, batch: int, rng: np.random.Generator) -> list[np.ndarray]:
    """New inputs ``[steps, batch, *row]`` like ``samples`` ``[time, batch, *row]``.

    Rows are drawn again with replacement; those of a floating type get noise of a tenth of each
    entry's spread. So scalers see values of their range and token inputs stay in the vocabulary.
    """
    inputs = []
    for sample in samples:
        rows = sample.reshape(-1, *sample.shape[2:])
        value = rows[rng.integers(0, len(rows), (steps, batch))]
        if np.issubdtype(value.dtype, np.floating):
            noise = 0.1 * rows.std(axis=0) * rng.standard_normal(value.shape)
            value = (value + noise).astype(sample.dtype)
        inputs.append(value)
    return inputs
