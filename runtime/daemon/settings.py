"""All settings of ``edge-rnn run``, parsed once; the core never reads flags, files or the environment."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, cast

import msgspec

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.plans import EnginePrecision, engines_folder
from edge_rnn.contract.units import parse_duration, parse_size
from runtime.checkpoint.policy import NewModel, RecoveryPolicy, SnapshotPolicy
from runtime.core.outbox import HeaderMode
from runtime.engines.devices import Device
from runtime.transports.protocol import Delivery

SHADOW_WARMUP = "warmup=10m"
"""What a shadow does about another model, which is what it usually is."""


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a daemon; names are the flags', with underscores. Durations are text with a unit."""

    input: str
    output: str
    broker: str = "localhost:9092"
    group: str | None = None
    client: Literal["kafka-python", "confluent"] = "kafka-python"
    mode: Literal["step", "generate"] = "step"
    codec: Literal["json", "f32", "pcm16"] = "json"
    emit: str = "every"
    input_rate: int | None = None
    output_codec: Literal["json", "f32"] | None = None
    dead_letter: str | None = None
    create_topics: bool = False
    instance: str | None = None
    state_dir: str | None = None
    from_: Literal["earliest", "latest"] = msgspec.field(default="earliest", name="from")
    commit_interval: str = "100ms"
    snapshot_interval: str = "30s"
    snapshot_budget: str | None = None
    max_replay: int = 10_000_000
    idle_reset: str | None = None
    max_streams: int | None = None
    arena_dir: str | None = None
    startup_timeout: str = "20s"
    max_records: int = 32_768
    background_records: int = 256
    max_chunk: int = 256
    threads: int | None = None
    device: Device = "auto"
    cache_dir: str | None = None
    engine_precision: EnginePrecision = "fp32"
    workers: int = 1
    headers: Literal["none", "model", "origin", "trace"] | None = None
    null_key: Literal["dead-letter", "partition"] = "dead-letter"
    delivery: Delivery = "exactly-once"
    on_new_model: str | None = None
    on_moved_offsets: Literal["fail", "reset"] = "fail"
    on_lost_input: Literal["fail", "reset"] = "fail"
    shadow: str | None = None
    shadow_tolerance: float = 1e-3
    leave: bool = False
    http: str | None = None
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    kafka: dict[str, object] = {}

    @property
    def commit_interval_s(self) -> float:
        """The longest time between two commits under load, in seconds."""
        return parse_duration(self.commit_interval, "--commit-interval")

    @property
    def engines(self) -> Path:
        """Where TensorRT's engines are kept."""
        return engines_folder() if self.cache_dir is None else Path(self.cache_dir)

    @property
    def snapshots(self) -> SnapshotPolicy:
        """How often the states are saved: where tokens are generated, in every commit that carries some."""
        if self.mode == "generate":
            return SnapshotPolicy(0.0)
        budget = None if self.snapshot_budget is None else parse_size(self.snapshot_budget, "--snapshot-budget")
        interval_s = parse_duration(self.snapshot_interval, "--snapshot-interval")
        return SnapshotPolicy(interval_s if self.shadow is None else math.inf, budget)

    @property
    def replays(self) -> bool:
        """Whether a start may need input again that was read before."""
        return self.snapshots.interval_s > 0 or self.delivery != "exactly-once"

    @property
    def idle_reset_ms(self) -> int | None:
        """The silence after which a stream begins anew, in milliseconds."""
        return None if self.idle_reset is None else round(1000 * parse_duration(self.idle_reset, "--idle-reset"))

    @property
    def startup_timeout_s(self) -> float:
        """How long the broker may take to answer at start, in seconds."""
        return parse_duration(self.startup_timeout, "--startup-timeout")

    @property
    def recovery(self) -> RecoveryPolicy:
        """What to do where state and offsets do not fit together. Raises `UsageError`."""
        on_new_model = self.on_new_model or ("fail" if self.shadow is None else SHADOW_WARMUP)
        answer, _, duration = on_new_model.partition("=")
        if answer not in ("fail", "reset", "warmup") or (answer == "warmup") != bool(duration):
            raise UsageError(f"--on-new-model is {self.on_new_model!r}, expected fail, reset or warmup=DURATION")
        warmup_s = parse_duration(duration, "--on-new-model warmup") if duration else 0.0
        return RecoveryPolicy(
            start=self.from_,
            on_new_model=cast(NewModel, answer),
            warmup_ms=round(1000 * warmup_s),
            on_moved_offsets=self.on_moved_offsets,
            on_lost_input=self.on_lost_input,
        )

    @property
    def header_mode(self) -> HeaderMode:
        """Which headers outputs have: where models may follow one another, at least which one made it."""
        alone = self.shadow is None and self.on_new_model in (None, "fail")
        return self.headers or ("none" if alone else "model")

    @property
    def promoted(self) -> RunSettings:
        """Those of the member that a shadow becomes; what it did about another model, it goes on to do."""
        on_new_model = self.on_new_model or SHADOW_WARMUP
        return msgspec.structs.replace(self, shadow=None, group=self.shadow, on_new_model=on_new_model)

    @property
    def replay_settings(self) -> dict[str, str]:
        """The settings that change what a replay computes; they go into the state fingerprint."""
        found = {"codec": self.codec, "null_key": self.null_key, "idle_reset_ms": str(self.idle_reset_ms)}
        if self.mode != "step":
            found["mode"] = self.mode
        if self.emit != "every":
            found["emit"] = self.emit
        if self.input_rate is not None:
            found["input_rate"] = str(self.input_rate)
        return found

    @property
    def encoder(self) -> Literal["json", "f32"]:
        """How outputs are written: as the input is, where that can be; segments and sound's scores in JSON."""
        if self.output_codec is not None:
            return self.output_codec
        return "f32" if self.codec == "f32" and self.emit == "every" else "json"


def default_state_dir() -> Path:
    """Where a daemon keeps its instance name: ``$XDG_STATE_HOME/edge-rnn``, else under ``~/.local/state``."""
    import os

    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edge-rnn"
