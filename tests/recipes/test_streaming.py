"""Every recipe as a stream: exported with parity, run by the daemon over the embedded broker, replayed, generated."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

from edge_rnn.models import EncoderDecoder
from edge_rnn.recipes.dates import pairs, translate
from edge_rnn.recipes.train import rows_of
from runtime.core.batch import BY_KEY, Outgoing
from runtime.core.generation import Request
from runtime.core.sampling import Sampling
from runtime.daemon.generate import generate
from runtime.daemon.lifecycle import serve
from runtime.daemon.replay import replay
from runtime.daemon.settings import RunSettings
from runtime.transports.connect import open_broker
from runtime.transports.files import read_batches
from tests.recipes.conftest import exported_recipe

STREAMS, STEPS = 6, 100
DEADLINE_S = 60.0


def test_recipe_when_exported_then_parity_holds(exported):
    recipe, _, bundle = exported
    gates = bundle.manifest.gates
    assert gates.tolerance == 1e-6
    assert gates.parity.max_abs_error <= gates.parity.bound
    assert bundle.manifest.inputs[0].features == recipe.features
    assert bundle.manifest.outputs[0].labels == recipe.labels or recipe.task == "regression"
    if bundle.manifest.prompt is not None:
        assert bundle.manifest.prompt.parity.max_abs_error <= bundle.manifest.prompt.parity.bound


def stream(bundle, path, broker: str, count: int) -> list[tuple[bytes, bytes]]:
    """The file's rows through a daemon over the embedded broker, until it has said ``count`` outputs; key and value."""
    store = open_broker(broker, "kafka-python")
    try:
        store.create_topic("in", 4)
        for batch in read_batches(path, "json", bundle.manifest.feature_names):
            store.write(
                "in", Outgoing(np.full(len(batch), BY_KEY, np.int32), batch.timestamps, batch.keys, batch.values)
            )

        def said() -> list[tuple[bytes, bytes]]:
            if store.partitions("out") is None:
                return []
            batch = store.read("out")
            return list(zip(batch.keys, batch.values, strict=True))

        def stop_when_done() -> None:
            end = time.monotonic() + DEADLINE_S
            while len(said()) < count and time.monotonic() < end:
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGTERM)  # the daemon, which runs in this process, drains and returns

        watch = threading.Thread(target=stop_when_done)
        watch.start()
        settings = RunSettings(input="in", output="out", broker=broker, create_topics=True, instance="recipe")
        serve(bundle.path, settings)
        watch.join()
        return said()
    finally:
        store.close()


def test_recipe_when_streamed_then_gives_replay_s_bytes_and_pytorch_s_outputs(exported, tmp_path):
    recipe, outcome, bundle = exported
    streams = [one._replace(rows=one.rows[:STEPS]) for one in recipe.streams()[:STREAMS]]
    if not streams:
        pytest.skip("this recipe streams as prompts and replies: see the tests of generation")
    path = tmp_path / "streams.csv"
    path.write_bytes(rows_of(streams, recipe.features))
    count = sum(len(one.rows) for one in streams)
    replayed: dict[bytes, list[bytes]] = {}
    for lines in replay(bundle.path, path, batch_records=37):
        for line in lines:
            replayed.setdefault(json.loads(line)["key"].encode(), []).append(b"{" + line.split(b",", 1)[1].strip())
    streamed: dict[bytes, list[bytes]] = {}
    for key, value in stream(bundle, path, f"sqlite:{tmp_path / 'store.db'}", count):
        streamed.setdefault(key, []).append(value)
    assert streamed == replayed
    assert sum(map(len, streamed.values())) == count
    for one in streams:
        x = torch.from_numpy(one.rows)
        with torch.no_grad():
            y, _ = outcome.model(x if recipe.vocabulary else x[:, None])
        found = np.array([json.loads(value)["output"][0] for value in streamed[one.key.encode()]])
        np.testing.assert_allclose(found, y[:, 0].numpy(), rtol=1e-5, atol=1e-5 * max(1.0, float(y.abs().max())))


@pytest.mark.parametrize("name", ["text", "music", "dates"])
def test_recipe_when_it_generates_then_replies_to_held_out_prompts(name, tmp_path):
    recipe, outcome, bundle = exported_recipe(name, tmp_path)
    prompts = recipe.prompts()[:8]
    requests = [Request(prompt=prompt, tokens=40, sampling=Sampling(temperature=0.0)) for prompt in prompts]
    said = [""] * len(prompts)
    for piece in generate(bundle.path, requests):
        said[piece.slot] += piece.text
    assert all(said)
    if isinstance(outcome.model, EncoderDecoder):
        assert said == translate(outcome.model, pairs()["test"][:8])
