"""What leaves the core: outputs under their input's key, and dead letters, each with the headers asked for."""

from __future__ import annotations

from typing import Literal

import numpy as np

from runtime.core.batch import BY_KEY, Headers, Outgoing, RecordBatch
from runtime.core.column import Cells, lengths_of, pick

HeaderMode = Literal["none", "model", "origin", "trace"]

TRACE_HEADERS = ("traceparent", "tracestate")
"""W3C Trace Context headers, passed on from the input record under ``--headers trace``."""

NOTHING = Outgoing(np.empty(0, np.int32), np.empty(0, np.int64), [], [])


class Outbox:
    """Makes outgoing records of a batch's results.

    ``same_partitions``: an output goes to its input's partition; otherwise the transport chooses by key.
    """

    def __init__(self, topic: str, model: str, headers: HeaderMode, max_bytes: int | None) -> None:
        """``topic`` is the input's, ``model`` made the outputs; a record has at most ``max_bytes``, key and value."""
        self.same_partitions = True
        self._topic = topic
        self._model = model
        self._mode = headers
        self._max_bytes = max_bytes

    def fitting(
        self, batch: RecordBatch, chosen: np.ndarray, values: Cells, errors: dict[int, str]
    ) -> tuple[np.ndarray, Cells]:
        """The outputs that a broker takes, of records ``chosen`` int64[n]; the records of the others join ``errors``."""
        limit = self._max_bytes
        if limit is None or _longest(values) + _longest(batch.keys) <= limit:
            return chosen, values
        sizes = lengths_of(values) + np.maximum(lengths_of(pick(batch.keys, chosen)), 0)
        for place in np.flatnonzero(sizes > limit).tolist():
            errors[int(chosen[place])] = (
                f"its output has {sizes[place]} bytes, the limit is {limit}; send fewer rows a record,"
                " use --output-codec f32, or raise the client's and the broker's limits"
            )
        keep = np.flatnonzero(sizes <= limit)
        return chosen[keep], pick(values, keep)

    def outputs(self, batch: RecordBatch, chosen: np.ndarray, values: Cells) -> Outgoing:
        """The outputs ``values`` of the records ``chosen`` (int64[n], ascending)."""
        whole = chosen.size == len(batch)
        partitions = batch.partitions if whole else batch.partitions[chosen]
        return Outgoing(
            partitions=partitions if self.same_partitions else np.full(chosen.size, BY_KEY, np.int32),
            timestamps=batch.timestamps if whole else batch.timestamps[chosen],
            keys=batch.keys if whole else pick(batch.keys, chosen),
            values=values,
            headers=self._headers(batch, chosen),
        )

    def dead_letters(self, batch: RecordBatch, errors: dict[int, str]) -> Outgoing:
        """The records in ``errors`` with the reason and their origin as headers."""
        if not errors:
            return NOTHING
        chosen = sorted(errors)
        return Outgoing(
            partitions=np.full(len(chosen), BY_KEY, np.int32),
            timestamps=batch.timestamps[chosen],
            keys=[batch.keys[index] for index in chosen],
            values=[self._burial(batch.values[index]) for index in chosen],
            headers=[[("edge-rnn-error", errors[i].encode()[:4096]), *self._origin(batch, i)] for i in chosen],
        )

    def _headers(self, batch: RecordBatch, chosen: np.ndarray) -> list[Headers] | None:
        mode = self._mode
        if mode == "none":
            return None
        model = ("edge-rnn-model", self._model.encode())
        if mode == "model":
            return [[model]] * chosen.size
        found: list[Headers] = []
        for index in chosen.tolist():
            headers = [*self._origin(batch, index), model]
            if mode == "trace" and batch.headers is not None:
                headers += [header for header in batch.headers[index] if header[0] in TRACE_HEADERS]
            found.append(headers)
        return found

    def _origin(self, batch: RecordBatch, index: int) -> list[tuple[str, bytes]]:
        return [
            ("edge-rnn-topic", self._topic.encode()),
            ("edge-rnn-partition", str(batch.partitions[index]).encode()),
            ("edge-rnn-offset", str(batch.offsets[index]).encode()),
        ]

    def _burial(self, value: bytes | None) -> bytes | None:
        """A dead letter's value, cut where with its headers it would be more than a broker takes."""
        limit = self._max_bytes
        return value if limit is None or value is None else value[: max(0, limit - 8192)]


def _longest(cells: Cells) -> int:
    return int(lengths_of(cells).max(initial=0))
