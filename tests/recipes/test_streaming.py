"""Every recipe as a stream: exported with parity, run by the daemon over the embedded broker, replayed, generated."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import uuid

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
from tests.recipes.through_graph import through_graph

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


def serve_until(bundle, broker: str, client: str, tag: str, done, **more) -> None:
    """A daemon in this process on the topics ``tag-in`` and ``tag-out``, until ``done()`` or the deadline."""

    def stop_when_done() -> None:
        end = time.monotonic() + DEADLINE_S
        while not done() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)  # the daemon drains and returns

    watch = threading.Thread(target=stop_when_done)
    watch.start()
    names = {"input": f"{tag}-in", "output": f"{tag}-out", "group": tag, "instance": tag}
    serve(bundle.path, RunSettings(**names, broker=broker, client=client, leave=True, **more))
    watch.join()


def stream(bundle, batches, broker: str, count: int, client="kafka-python", **more) -> list[tuple[bytes, bytes]]:
    """These records through a daemon, until it has said ``count`` outputs (or as many finals); key and value."""
    store, looking = open_broker(broker, client), open_broker(broker, client)
    tag = f"recipe-{uuid.uuid4().hex[:8]}"
    try:
        for role in ("in", "out"):
            store.create_topic(f"{tag}-{role}", 4)
        for batch in batches:
            chosen = np.full(len(batch), BY_KEY, np.int32)
            store.write(f"{tag}-in", Outgoing(chosen, batch.timestamps, batch.keys, batch.values))

        def done() -> bool:
            values = looking.read(f"{tag}-out").values
            return (len(values) if "mode" not in more else sum(b'"final":true' in value for value in values)) >= count

        serve_until(bundle, broker, client, tag, done, **more)
        batch = store.read(f"{tag}-out")
        return list(zip(batch.keys, batch.values, strict=True))
    finally:
        store.close()
        looking.close()


def by_key(pairs_: list[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for key, value in pairs_:
        found.setdefault(key, []).append(value)
    return found


def replayed(bundle, path) -> dict[bytes, list[bytes]]:
    """What `replay` says of each stream, as the daemon would write it."""
    lines = [line for some in replay(bundle.path, path, batch_records=37) for line in some]
    return by_key([(json.loads(line)["key"].encode(), b"{" + line.split(b",", 1)[1].strip()) for line in lines])


def held_out(recipe, path) -> list:
    """Some streams of the test part, written as rows to ``path``."""
    streams = [one._replace(rows=one.rows[:STEPS]) for one in recipe.streams()[:STREAMS]]
    path.write_bytes(rows_of(streams, recipe.features))
    return streams


def compare(recipe, outcome, bundle, streams, path, streamed: dict[bytes, list[bytes]]) -> None:
    """Streamed outputs are `replay`'s bit by bit, and PyTorch's but for rounding."""
    assert streamed == replayed(bundle, path)
    assert sum(map(len, streamed.values())) == sum(len(one.rows) for one in streams)
    for one in streams:
        x = torch.from_numpy(one.rows)
        with torch.no_grad():
            y, _ = outcome.model(x if recipe.vocabulary else x[:, None])
        found = np.array([json.loads(value)["output"][0] for value in streamed[one.key.encode()]])
        np.testing.assert_allclose(found, y[:, 0].numpy(), rtol=1e-5, atol=1e-5 * max(1.0, float(y.abs().max())))


def test_recipe_when_streamed_then_gives_replay_s_bytes_and_pytorch_s_outputs(exported, tmp_path):
    recipe, outcome, bundle = exported
    if not recipe.streams():  # an encoder-decoder streams as prompts and replies, below
        assert recipe.prompts()
        return
    path = tmp_path / "streams.csv"
    streams = held_out(recipe, path)
    batches = read_batches(path, "json", bundle.manifest.feature_names)
    count = sum(len(one.rows) for one in streams)
    compare(recipe, outcome, bundle, streams, path, by_key(stream(bundle, batches, f"sqlite:{tmp_path / 's'}", count)))


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("name", "client"), [("weather", "kafka-python"), ("speaker", "confluent"), ("tagging", "confluent")]
)
def test_recipe_when_streamed_through_kafka_then_gives_replay_s_bytes(name, client, kafka_broker, tmp_path):
    recipe, outcome, bundle = exported_recipe(name)
    path = tmp_path / "streams.csv"
    streams = held_out(recipe, path)
    batches = read_batches(path, "json", bundle.manifest.feature_names)
    count = sum(len(one.rows) for one in streams)
    compare(recipe, outcome, bundle, streams, path, by_key(stream(bundle, batches, kafka_broker, count, client)))


def test_recipe_when_its_bundle_is_scored_then_is_pytorch_s_score(exported):
    recipe, outcome, bundle = exported
    found = recipe.score(through_graph(outcome.model, bundle))
    assert found.value == pytest.approx(outcome.score.value, rel=1e-5)
    assert found.baseline == outcome.score.baseline


@pytest.mark.parametrize("name", ["text", "music", "dates"])
def test_recipe_when_it_generates_then_the_daemon_says_what_generate_says(name, tmp_path):
    recipe, outcome, bundle = exported_recipe(name)
    prompts = recipe.prompts()[:8]
    sampling = Sampling(temperature=0.0)
    requests = [Request(prompt=prompt, tokens=60, sampling=sampling) for prompt in prompts]
    said = [""] * len(prompts)
    for piece in generate(bundle.path, requests):
        said[piece.slot] += piece.text
    assert all(said)
    if isinstance(outcome.model, EncoderDecoder):
        assert said == translate(outcome.model, pairs()["test"][:8])
    path = tmp_path / "prompts.jsonl"
    values = [
        {"key": str(i), "value": {"prompt": prompt, "tokens": 60, "temperature": 0}} for i, prompt in enumerate(prompts)
    ]
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    store = f"sqlite:{tmp_path / 'store'}"
    streamed = by_key(stream(bundle, read_batches(path, "json"), store, len(prompts), mode="generate"))
    for i, text in enumerate(said):
        pieces = [json.loads(value) for value in streamed[str(i).encode()]]
        assert "".join(piece["text"] for piece in pieces) == text
        assert [piece["final"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
