"""A training that is killed goes on from its last checkpoint and ends with the same weights."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edge_rnn.models import build
from edge_rnn.models.regression import squared_error
from edge_rnn.training import Sequences, Settings, deterministic, fit
from edge_rnn.training.checkpoints import CHECKPOINT, EVERY_S

DEADLINE_S = 120.0
COMMAND = [sys.executable, "-m", "edge_rnn.cli", "train", "weather", "--seed", "5", "--set", "epochs=40"]
COMMAND += [
    "--set",
    "patience=40",
    "--set",
    "hidden=8",
    "--set",
    "chunk=64",
    "--set",
    "dropout=0.1",
    "--set",
    "layers=2",
]


def scalars(folder, name: str) -> dict[int, float]:
    found = EventAccumulator(str(folder))
    found.Reload()
    return {event.step: event.value for event in found.Scalars(name)}


def test_train_when_killed_and_started_again_then_ends_with_the_same_weights(tmp_path):
    whole = subprocess.run([*COMMAND, "-o", str(tmp_path / "whole")], capture_output=True, check=True)
    assert b"resumed" not in whole.stderr
    checkpoint = tmp_path / "killed.training" / CHECKPOINT
    process = subprocess.Popen([*COMMAND, "-o", str(tmp_path / "killed")], stderr=subprocess.PIPE)
    end = time.monotonic() + DEADLINE_S
    while not checkpoint.exists():
        assert process.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed").exists()
    done = len(torch.load(checkpoint, weights_only=True)["history"]["train"])
    assert 0 < done < 40
    last = subprocess.run([*COMMAND, "-o", str(tmp_path / "killed")], capture_output=True, check=True)
    assert f"resumed after epoch {done}\n".encode() in last.stderr
    for name in ("weights.safetensors", "history.json", "run.toml"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not checkpoint.parent.exists()
    losses = json.loads((tmp_path / "whole/history.json").read_text())["validation"]
    for run in ("whole", "killed"):
        seen = scalars(tmp_path / run / "events", "loss/validation")
        assert list(seen) == list(range(1, 41))
        assert list(seen.values()) == pytest.approx(losses, rel=1e-6)


def small(folder, epochs: int, learning_rate: float = 0.01, patience: int = 20):
    """A few epochs; the loss counts how often it is asked."""
    asked = []

    def loss(y, target):
        asked.append(1)
        return squared_error(y, target, torch.ones(1))

    with deterministic(7):
        model = build("gru", inputs=1, outputs=1, hidden=4, dropout=0.2, layers=2)
        x = torch.rand(10, 8, 1)
        data, held = Sequences(x, x.roll(1, 0)), Sequences(x, torch.rand(10, 8, 1))
        settings = Settings(epochs=epochs, chunk=5, batch=4, learning_rate=learning_rate, patience=patience)
        history = fit(model, data, held, loss, settings, folder=folder)
    return history, len(asked), torch.cat([weight.flatten() for weight in model.parameters()])


def test_fit_when_its_checkpoint_is_of_the_end_then_nothing_is_trained_again(tmp_path):
    first = small(tmp_path, 4)
    again = small(tmp_path, 4)
    assert (again[0], again[1]) == (first[0], 0)
    assert torch.equal(again[2], first[2])


def test_fit_when_it_had_stopped_early_then_a_resumed_one_stops_as_well(tmp_path):
    first = small(tmp_path, 200, learning_rate=0.1, patience=2)
    assert len(first[0].train) < 200
    assert small(tmp_path, 200, learning_rate=0.1, patience=2)[1] == 0


@pytest.mark.parametrize("damage", ["other settings", "no checkpoint", "cut short"])
def test_fit_when_the_checkpoint_is_not_its_own_then_begins_anew(tmp_path, damage):
    expected = small(None, 3)
    small(tmp_path, 3, learning_rate=0.02 if damage == "other settings" else 0.01)
    if damage == "no checkpoint":
        (tmp_path / CHECKPOINT).unlink()
    elif damage == "cut short":
        (tmp_path / CHECKPOINT).write_bytes((tmp_path / CHECKPOINT).read_bytes()[:-500])
    found = small(tmp_path, 3)
    assert found[1] == expected[1]
    assert torch.equal(found[2], expected[2])


def test_events_when_written_then_hold_losses_and_the_gradient_s_norm(tmp_path):
    history, _, _ = small(tmp_path, 3)
    assert EVERY_S > 0
    for name, values in (
        ("loss/train", history.train),
        ("loss/validation", history.validation),
        ("gradient/norm", history.gradient),
    ):
        assert list(scalars(tmp_path / "events", name).values()) == pytest.approx(values, rel=1e-6)
        assert min(values) > 0
