"""The calls of a plan, made one after the other or two at once; what fails in one is found down to the row."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable

import numpy as np

from edge_rnn.contract.errors import EngineError
from runtime.core.scheduler import Call
from runtime.engines.protocol import Begun, Engine, OverlappingEngine

_UnderWay = deque[tuple[Call, Begun]]


class Stepper:
    """What is known of an engine once and for all: how its inputs lie in a row, and whether its calls overlap."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.overlapping = engine if isinstance(engine, OverlappingEngine) else None
        self.splits = np.cumsum([spec.width for spec in engine.manifest.inputs])[:-1]


class Stepping:
    """Takes rows through an engine, of which each output row and each row that it cannot take is noted.

    ``rows`` are a batch's decoded ones, ``[total, width]``; ``outputs[i]`` has a row for each of them. ``bad_rows`` says
    why the model cannot take a row: its stream keeps its last good state, and goes on behind it.
    """

    def __init__(self, stepper: Stepper, rows: np.ndarray) -> None:
        self._engine, self._overlaps, self._splits = stepper.engine, stepper.overlapping, stepper.splits
        self._rows = rows
        outputs = self._engine.manifest.outputs
        self.outputs = [np.empty((rows.shape[0], *spec.row_shape), spec.dtype) for spec in outputs]
        self.bad_rows: dict[int, str] = {}

    def step(self, calls: Iterable[Call]) -> None:
        """Make these calls. Raises `EngineError` when the engine fails: states are then undefined."""
        if self._overlaps is not None:
            self._overlapping(self._overlaps, calls)
        else:
            for call in calls:
                self._call(call)

    def _overlapping(self, engine: OverlappingEngine, calls: Iterable[Call]) -> None:
        """Each call is begun while the one before runs; results are taken in the order of the calls."""
        under_way: _UnderWay = deque()
        try:
            for call in calls:
                self._begin(engine, call, under_way)
            while under_way:
                self._take_oldest(under_way)
        finally:  # nobody may be at the states when this returns
            while under_way:
                with contextlib.suppress(EngineError):
                    under_way.popleft()[1].result()

    def _begin(self, engine: OverlappingEngine, call: Call, under_way: _UnderWay) -> None:
        """Begin a call, with results taken as it has to be; one that cannot be begun is made in parts."""
        inputs = self._inputs(call)
        while True:
            try:
                begun = engine.begin(call.slots, inputs)
            except EngineError as error:
                failure = error
                break
            if begun is not None:
                under_way.append((call, begun))
                return
            self._take_oldest(under_way)
        while under_way:
            self._take_oldest(under_way)
        self._failed(call, failure)

    def _take_oldest(self, under_way: _UnderWay) -> None:
        """Keep the results of the oldest call. What is bad in it is run again before all that is behind it.

        Streams that were bad have not been stepped by calls behind; those are taken as well, and make these steps then.
        """
        call, begun = under_way.popleft()
        results, good = begun.result()
        self._keep(call, results, good)
        if good.all():
            return
        behind = []
        while under_way:
            later, running = under_way.popleft()
            behind.append((later, *running.result()))
        self._again(call, np.flatnonzero(~good))
        for later, found, fine in behind:
            self._keep(later, found, fine)
            if (left := np.flatnonzero(~fine)).size:
                self._call(Call(later.slots[left], later.rows[:, left]))

    def _call(self, call: Call) -> None:
        """One model call by itself. What fails in it is run again alone, step by step, until the bad row stands out."""
        try:
            results, good = self._engine.run(call.slots, self._inputs(call))
        except EngineError as error:
            self._failed(call, error)
            return
        self._keep(call, results, good)
        if not good.all():
            self._again(call, np.flatnonzero(~good))

    def _inputs(self, call: Call) -> list[np.ndarray]:
        x = self._rows[call.rows]
        pieces = np.split(x, self._splits, axis=2) if self._splits.size else [x]
        return [
            piece.reshape(*piece.shape[:2], *spec.row_shape).astype(spec.dtype, copy=False)
            for piece, spec in zip(pieces, self._engine.manifest.inputs, strict=True)
        ]

    def _keep(self, call: Call, results: list[np.ndarray], good: np.ndarray) -> None:
        """Put the outputs of streams that are good where they belong."""
        if good.all():
            for output, result in zip(self.outputs, results, strict=True):
                output[call.rows] = result
            return
        fine = np.flatnonzero(good)
        for output, result in zip(self.outputs, results, strict=True):
            output[call.rows[:, fine]] = result[:, fine]

    def _again(self, call: Call, bad: np.ndarray) -> None:
        """These streams of a call were bad: step by step, and a bad step is noted."""
        if len(call.rows) == 1:
            self.bad_rows.update(dict.fromkeys(call.rows[0, bad].tolist(), "the model's result is not finite"))
            return
        for step in call.rows:
            self._call(Call(call.slots[bad], step[None, bad]))

    def _failed(self, call: Call, error: EngineError) -> None:
        """A call failed. If the model works: halve it, by streams and then by steps, down to the rows at fault."""
        if not self._engine.works():
            raise error
        steps, streams = call.rows.shape
        if streams > 1:
            for half in np.array_split(np.arange(streams), 2):
                self._call(Call(call.slots[half], call.rows[:, half]))
        elif steps > 1:
            for step in call.rows:
                self._call(Call(call.slots, step[None]))
        else:
            self.bad_rows[int(call.rows[0, 0])] = str(error)
