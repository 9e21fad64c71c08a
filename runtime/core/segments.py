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

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import Manifest, OutputSpec
from edge_rnn.contract.units import parse_duration
from runtime.core.carry import Table
from runtime.core.pieces import Pieces, in_rounds

NONE = -1
EXAMPLE = "segments:on=0.5,off=0.35,min-speech=250ms,min-silence=100ms,pad=30ms"


@dataclass(frozen=True, slots=True)
class SegmentRules:
    """Thresholds, and lengths in steps; ``step_s`` seconds a step (0: times are told in steps)."""

    on: float = 0.5
    off: float = 0.35
    min_speech: int = 8
    min_silence: int = 4
    pad: int = 1
    step_s: float = 0.0
    label: str | None = None


def parse_emit(text: str, manifest: Manifest) -> SegmentRules | None:
    """Read ``--emit``: ``every`` (``None``) or ``segments:name=value,...``. Raises `UsageError`."""
    if text == "every":
        return None
    kind, _, rest = text.partition(":")
    if kind != "segments":
        raise UsageError(f"--emit is {text!r}, expected every or {EXAMPLE}")
    framing = manifest.framing
    step_s = framing.hop / framing.rate if framing is not None and framing.rate else 0.0
    defaults = {"min-speech": "250ms", "min-silence": "100ms", "pad": "30ms"} if step_s else {}
    given = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    unknown = sorted(set(given) - {"on", "off", "min-speech", "min-silence", "pad", "label"})
    if unknown:
        raise UsageError(f"--emit {text!r}: {unknown[0]!r} is unknown; e.g. {EXAMPLE}")
    lengths = {
        name: _steps(value, step_s, f"--emit {name}")
        for name, value in {**defaults, **given}.items()
        if name in ("min-speech", "min-silence", "pad")
    }
    try:
        on = float(given.get("on", 0.5))
        off = float(given.get("off", max(0.0, on - 0.15)))
    except ValueError as error:
        raise UsageError(f"--emit {text!r}: {error}; e.g. {EXAMPLE}") from error
    base = SegmentRules()
    rules = SegmentRules(
        on,
        off,
        max(1, lengths.get("min-speech", base.min_speech)),
        max(1, lengths.get("min-silence", base.min_silence)),
        lengths.get("pad", base.pad),
        step_s,
        given.get("label"),
    )
    if not off <= on:
        raise UsageError(f"--emit {text!r}: off={off:g} is above on={on:g}")
    if rules.pad > rules.min_silence:
        raise UsageError(f"--emit {text!r}: a pad longer than min-silence would reach into the next segment")
    _column(rules, manifest.outputs[0])
    return rules


def _steps(value: str, step_s: float, name: str) -> int:
    """A duration, or a number of steps, in whole steps."""
    if value.isdecimal():
        return int(value)
    if not step_s:
        raise UsageError(f"{name} is {value!r}: the model's steps have no duration; give a number of steps")
    return round(parse_duration(value, name) / step_s)


def _column(rules: SegmentRules, output: OutputSpec) -> int:
    """Which number of a row is the score."""
    if rules.label is None and output.width == 1:
        return 0
    labels = output.labels or tuple(str(index) for index in range(output.width))
    if rules.label not in labels:
        raise UsageError(
            f"--emit segments: the output has {output.width} scores; give label= one of {', '.join(labels)}"
        )
    return labels.index(rules.label)


class Segments:
    """Follows the score of many streams; ``table`` holds where each stream is."""

    def __init__(self, rules: SegmentRules, output: OutputSpec) -> None:
        self._rules = rules
        self._column = _column(rules, output)
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
