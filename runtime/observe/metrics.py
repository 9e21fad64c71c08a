"""The daemon's metrics, as Prometheus reads them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

_LATENCY_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600)
_CALL_S = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """Counters, gauges and histograms of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.lag: dict[int, int] = {}
        self._in = Counter("edge_rnn_records_in", "Records applied", registry=registry)
        self._out = Counter("edge_rnn_records_out", "Output records sent", registry=registry)
        self._dead = Counter("edge_rnn_dead_letters", "Records that could not be used", registry=registry)
        self._steps = Counter("edge_rnn_steps", "Model steps taken", registry=registry)
        self._commits = Counter("edge_rnn_commits", "Epochs committed", registry=registry)
        self._committed = Counter("edge_rnn_records_committed", "Records whose results are visible", registry=registry)
        self._failed = Counter(
            "edge_rnn_failed_epochs", "Epochs that failed and were recovered from", registry=registry
        )
        self._snapshots = Counter("edge_rnn_snapshots", "Snapshot records committed", registry=registry)
        self._snapshot_bytes = Counter("edge_rnn_snapshot_bytes", "Bytes of snapshots committed", registry=registry)
        self._replayed = Counter("edge_rnn_replayed_records", "Records applied again, silently", registry=registry)
        self._horizon = Gauge(
            "edge_rnn_replay_horizon_records",
            "Offsets of one partition that a crash now would replay",
            registry=registry,
        )
        self._engine = Info("edge_rnn_engine", "What runs the model: cpu, cuda or tensorrt", registry=registry)
        self._rate = Gauge(
            "edge_rnn_engine_trial_steps_per_second",
            "Of each engine that was tried at start",
            ["engine"],
            registry=registry,
        )
        self._fallbacks = Counter(
            "edge_rnn_engine_fallbacks",
            "Engines that this machine should have, but do not run",
            ["engine"],
            registry=registry,
        )
        self._evicted = Counter("edge_rnn_evicted_streams", "Streams evicted, beyond --max-streams", registry=registry)
        self._restores = Counter("edge_rnn_restores", "Partitions recovered", registry=registry)
        self._restored_streams = Counter("edge_rnn_restored_streams", "Streams restored", registry=registry)
        self._streams = Gauge("edge_rnn_streams", "Streams that have a state", registry=registry)
        self._lag = Gauge("edge_rnn_lag_records", "Records not yet polled", ["partition"], registry=registry)
        self._batch = Histogram("edge_rnn_call_streams", "Streams per model call", buckets=_BATCH, registry=registry)
        self._chunk = Histogram(
            "edge_rnn_call_steps", "Steps along time per model call", buckets=_BATCH[:8], registry=registry
        )
        self._call = Histogram("edge_rnn_call_seconds", "Time of a model call", buckets=_CALL_S, registry=registry)
        self._commit = Histogram("edge_rnn_commit_seconds", "Time of a commit", buckets=_LATENCY_S, registry=registry)
        self._restore = Histogram(
            "edge_rnn_restore_seconds", "Time to recover a partition", buckets=_LATENCY_S, registry=registry
        )
        self._latency = Histogram(
            "edge_rnn_latency_seconds",
            "From a record's timestamp to the commit of its output; the oldest record of each poll",
            buckets=_LATENCY_S,
            registry=registry,
        )

    def applied(self, records: int, outputs: int, errors: int, steps: int) -> None:
        """A batch went through the model."""
        self._in.inc(records)
        self._out.inc(outputs)
        self._dead.inc(errors)
        self._steps.inc(steps)

    def called(self, chunk: int, streams: int, seconds: float) -> None:
        """One model call was made."""
        self._chunk.observe(chunk)
        self._batch.observe(streams)
        self._call.observe(seconds)

    def committed(self, seconds: float, snapshots: int, snapshot_bytes: int, timestamps: Sequence[np.ndarray]) -> None:
        """An epoch became visible. ``timestamps``: int64 milliseconds since 1970 of the batches in it."""
        self._commits.inc()
        self._snapshots.inc(snapshots)
        self._snapshot_bytes.inc(snapshot_bytes)
        self._commit.observe(seconds)
        now_ms = time.time() * 1000
        for column in timestamps:
            self._committed.inc(column.size)
            oldest = int(column.min(initial=np.iinfo(np.int64).max))
            if 0 <= oldest <= now_ms:
                self._latency.observe((now_ms - oldest) / 1000)

    def restored(self, streams: int, seconds: float) -> None:
        """A partition was recovered."""
        self._restores.inc()
        self._restored_streams.inc(streams)
        self._restore.observe(seconds)

    def chose(self, engine: str, rates: Mapping[str, float], failed: Iterable[str]) -> None:
        """An engine was chosen at start; ``rates`` of those tried, and the names of those that failed."""
        self._engine.info({"name": engine})
        for name, rate in rates.items():
            self._rate.labels(name).set(rate)
        for name in failed:
            self._fallbacks.labels(name).inc()

    def evicted(self, streams: int) -> None:
        """Streams made room for others."""
        self._evicted.inc(streams)

    def failed(self) -> None:
        """An epoch failed."""
        self._failed.inc()

    def replayed(self, records: int) -> None:
        """Records were applied again without an output."""
        self._replayed.inc(records)

    def observed(self, lag: Mapping[int, int], streams: int, horizon: int) -> None:
        """State of now and then: lag in records by partition, streams held, records that a crash would replay."""
        self.lag = dict(lag)
        self._streams.set(streams)
        self._horizon.set(horizon)
        self._lag.clear()
        for partition, records in lag.items():
            self._lag.labels(str(partition)).set(records)

    def work(self) -> tuple[int, int, float]:
        """Records applied, model steps taken, and seconds in model calls, so far."""
        names = ("edge_rnn_records_in_total", "edge_rnn_steps_total", "edge_rnn_call_seconds_sum")
        records, steps, seconds = (self.registry.get_sample_value(name) or 0.0 for name in names)
        return int(records), int(steps), seconds

    def render(self) -> bytes:
        """The text that ``/metrics`` gives."""
        return generate_latest(self.registry)
