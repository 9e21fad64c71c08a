"""What a demo is asked for, and the topics, group and command lines that follow from it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.transports.protocol import Client

RECIPE = "activity"
PARTITIONS = 4


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """``broker`` is ``HOST:PORT`` or ``sqlite:PATH``; ``None``: a store in ``out``.

    ``records_per_s`` is the pace of all streams together. ``epochs`` and ``steps`` shorten the
    training and each stream; ``None`` is all that the recipe has.
    """

    out: Path
    broker: str | None = None
    client: Client = "kafka-python"
    seed: int = 0
    records_per_s: float = 320.0
    epochs: int | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where the records go: a broker, two topics and the daemon's group."""

    broker: str
    client: Client
    input: str
    output: str
    group: str

    @property
    def kind(self) -> str:
        """The broker's name for a person."""
        return "the embedded broker (one SQLite file)" if self.is_embedded else f"Apache Kafka at {self.broker}"

    @property
    def is_embedded(self) -> bool:
        """Whether the broker is a file."""
        return self.broker.startswith("sqlite:")


def choose_place(settings: DemoSettings, store: Path, tag: str) -> Place:
    """The store of this demo, or names that hold ``tag`` on a broker that others use too."""
    if settings.broker is None:
        return Place(f"sqlite:{store}", settings.client, "watches", "activities", RECIPE)
    name = f"demo-{tag}"
    return Place(settings.broker, settings.client, f"{name}-watches", f"{name}-activities", f"{name}-{RECIPE}")


def train_command(settings: DemoSettings, run: Path) -> list[str]:
    """What to type to train the same model."""
    command = ["train", RECIPE, "-o", str(run)]
    if settings.seed:
        command += ["--seed", str(settings.seed)]
    if settings.epochs is not None:
        command += ["--set", f"epochs={settings.epochs}"]
    return command


def run_command(place: Place, bundle: Path, state: Path) -> list[str]:
    """What to type to start the same daemon."""
    command = ["run", str(bundle), "--input", place.input, "--output", place.output, "--broker", place.broker]
    if not place.is_embedded:
        command += ["--client", place.client, "--group", place.group]
    return [*command, "--state-dir", str(state), "--http", "127.0.0.1:0"]


def shown(command: Sequence[str]) -> str:
    """A command line as a person types it."""
    return shlex.join(["edge-rnn", *command])
