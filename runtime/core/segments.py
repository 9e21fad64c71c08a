"""Segments of a score: where it begins to be high and where it ends, told as soon as it is sure.

A segment begins at the first step whose score reaches ``on``. It ends where the score first falls
below ``off`` and does not reach ``on`` again for ``min_silence`` steps. One shorter than ``min_speech``
is never told. ``pad`` steps are added on both sides. The policy's memory is part of the stream's
durable state, so after a crash the same events are told, once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson

from edge_rnn.contract.signature import OutputSpec
from runtime.core.carry import Table
from runtime.core.pieces import Pieces, in_rounds

NONE = -1


@dataclass(frozen=True, slots=True)
class SegmentRules:
    """Thresholds, and lengths in steps; ``step_s`` seconds a step (0: times are told in steps).

    ``column``: which number of the output's row is the score.
    """

    on: float = 0.5
    off: float = 0.35
    min_speech: int = 8
    min_silence: int = 4
    pad: int = 1
    step_s: float = 0.0
    column: int = 0


class Segments:
    """Follows the score of many streams; ``table`` holds where each stream is."""

    def __init__(self, rules: SegmentRules, output: OutputSpec) -> None:
        self._rules = rules
        self._column = rules.column
        self._kind, self._width = output.kind, output.width
        fields = [(name, "<i8") for name in ("step", "start", "silent", "told", "last")]
        self.table = Table(np.dtype(fields), {"start": NONE, "silent": NONE})

    def follow(self, pieces: Pieces) -> dict[int, bytes]:
        """Take the model's rows ``[total, *row]`` of a batch; returns by record what is to be told, if anything."""
        rules, table = self._rules, self.table
        told: dict[int, list[dict[str, object]]] = {}
        scores = self._scores(pieces.rows)
        for slots, records, rows in in_rounds(pieces):
            state, score = table.rows[slots], scores[rows]
            step, high = state["step"], score >= rules.on
            begins = (state["start"] == NONE) & high
            state["start"][begins] = step[begins]
            state["silent"][high] = NONE
            falls = (state["start"] != NONE) & (score < rules.off) & (state["silent"] == NONE)
            state["silent"][falls] = step[falls]
            state["step"] += 1
            inside, quiet = state["start"] != NONE, state["silent"] != NONE
            sure = inside & ~quiet & (state["told"] == 0) & (state["step"] - state["start"] >= rules.min_speech)
            over = inside & quiet & (state["step"] - state["silent"] >= rules.min_silence)
            state["told"][sure] = 1
            for index in np.flatnonzero(sure).tolist():
                told.setdefault(int(records[index]), []).append({"event": "start", "start": self._start(state[index])})
            for index in np.flatnonzero(over).tolist():
                one = state[index]
                if one["told"]:
                    end = int(one["silent"]) + rules.pad
                    event: dict[str, object] = {"event": "end", "start": self._start(one), "end": self._time(end)}
                    told.setdefault(int(records[index]), []).append(event)
                    state["last"][index] = end
            for name, value in (("start", NONE), ("silent", NONE), ("told", 0)):
                state[name][over] = value
            table.rows[slots] = state
        return {record: orjson.dumps({"segments": events}) for record, events in told.items()}

    def _scores(self, rows: np.ndarray) -> np.ndarray:
        """The score of each row, as a probability."""
        table = rows.reshape(rows.shape[0], self._width).astype(np.float64)
        if self._kind != "logits":
            return np.asarray(table[:, self._column])
        if self._width == 1:
            return np.asarray(1 / (1 + np.exp(-table[:, 0])))
        powers = np.exp(table - table.max(axis=1, keepdims=True))
        return np.asarray(powers[:, self._column] / powers.sum(axis=1))

    def _start(self, state: np.void) -> float | int:
        return self._time(max(int(state["last"]), int(state["start"]) - self._rules.pad, 0))

    def _time(self, step: int) -> float | int:
        return round(step * self._rules.step_s, 6) if self._rules.step_s else step
