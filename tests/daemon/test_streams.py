"""Streams over the whole path: restarts keep their state, tombstones end them, dead letters are kept."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from tests.daemon.feeds import serve_until
from tests.oracle import Oracle

ONE = np.array([0.3, -0.2, 0.9], "<f4")


def test_tombstone_ends_a_stream_for_good_also_after_a_restart(place, bundle, tmp_path):
    value = ONE.tobytes()
    place.feed([(1, b"a", value), (1, b"b", value), (1, b"a", None), (1, b"c", value)])
    serve_until(place, bundle, 3)
    place.feed([(1, b"a", value), (1, b"b", value)])
    serve_until(place, bundle, 5)
    oracle = Oracle(bundle.path)
    first = oracle.step("b", ONE).tobytes()
    again = oracle.step("b", ONE).tobytes()
    batch = place.read()
    assert list(zip(batch.keys, batch.values, strict=True)) == [
        (b"a", first),
        (b"b", first),
        (b"c", first),
        (b"a", first),
        (b"b", again),
    ]


def test_output_keeps_key_timestamp_and_partition_and_dead_letters_their_origin(place, bundle, tmp_path):
    place.feed([(2, b"a", ONE.tobytes()), (2, b"a", b"bad"), (3, b"b", ONE.tobytes())])
    serve_until(place, bundle, 2, "--headers", "origin")
    given, out, dead = place.read("in"), place.read(), place.read("dead")
    assert sorted(zip(out.keys, out.partitions.tolist(), strict=True)) == [(b"a", 2), (b"b", 3)]
    stamps = dict(zip(given.keys, given.timestamps.tolist(), strict=True))
    first = {key: given.timestamps[given.keys.index(key)] for key in stamps}
    assert all(out.timestamps[i] == first[key] for i, key in enumerate(out.keys))
    assert dead.values == [b"bad"]
    headers = dict((dead.headers or [[]])[0])
    assert headers["edge-rnn-partition"] == b"2"
    assert headers["edge-rnn-offset"] == b"1"
    assert headers["edge-rnn-topic"] == place.topic("in").encode()


def test_replay_of_a_file_gives_the_bytes_that_the_daemon_wrote(embedded, bundle, tmp_path):
    rng = np.random.default_rng(0)
    lines = [
        {"key": f"s{i % 7}", "value": rng.standard_normal((1 + i % 3, 3)).astype(np.float32).tolist()}
        for i in range(60)
    ]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = [sys.executable, "-m", "edge_rnn.cli"]
    produce = [*command, "produce", str(rows), "--topic", embedded.topic("in"), "--broker", embedded.url]
    subprocess.run([*produce, "--rate", "2000"], check=True, capture_output=True)
    serve_until(embedded, bundle, 60, "--codec", "json")
    subprocess.run(
        [*command, "replay", str(bundle.path), str(rows), "-o", str(tmp_path / "out"), "--batch-records", "7"],
        check=True,
        capture_output=True,
    )
    streamed: dict[bytes, list[bytes]] = {}
    batch = embedded.read()
    for key, value in zip(batch.keys, batch.values, strict=True):
        streamed.setdefault(key, []).append(value)
    replayed: dict[bytes, list[bytes]] = {}
    for line in (tmp_path / "out").read_bytes().splitlines():
        key = json.loads(line)["key"].encode()
        replayed.setdefault(key, []).append(b"{" + line.partition(b",")[2])
    assert streamed == replayed
    assert [json.loads(line)["key"] for line in (tmp_path / "out").read_bytes().splitlines()] == [
        line["key"] for line in lines
    ]
