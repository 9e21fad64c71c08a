"""Flags that change what comes out, over the whole path from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np

from runtime.core.batch import Outgoing
from tests.daemon.conftest import PARTITIONS
from tests.daemon.feeds import serve_until
from tests.daemon.processes import DaemonProcess, wait_for
from tests.oracle import Oracle

ONE = np.array([0.3, -0.2, 0.9], "<f4")


def test_idle_reset_begins_a_stream_anew_after_a_silence_also_across_a_restart(embedded, bundle):
    def feed(*seconds: int) -> None:
        embedded.broker.write(
            embedded.topic("in"),
            Outgoing(
                partitions=np.zeros(len(seconds), np.int32),
                timestamps=1_700_000_000_000 + 1000 * np.array(seconds, np.int64),
                keys=[b"a"] * len(seconds),
                values=[ONE.tobytes()] * len(seconds),
            ),
        )

    feed(0, 10, 20, 31)  # eleven seconds of silence before the last
    serve_until(embedded, bundle, 4, "--idle-reset", "10s")
    feed(41, 52)
    serve_until(embedded, bundle, 6, "--idle-reset", "10s")
    oracle = Oracle(bundle.path)
    steps = [oracle.step("a", ONE).tobytes() for _ in range(3)]
    assert embedded.read().values == [*steps, *steps[:2], steps[0]]


def test_output_topic_with_other_partitions_gets_each_stream_in_one_of_them_in_order(place, bundle):
    narrow = f"{place.tag}-narrow"
    place.broker.create_topic(narrow, PARTITIONS - 1)
    place.feed([(i % PARTITIONS, b"s%d" % (i % 8), ONE.tobytes()) for i in range(40)])
    arguments = place.arguments(bundle)
    arguments[arguments.index("--output") + 1] = narrow
    daemon = DaemonProcess(arguments, place.folder / "log")
    try:
        wait_for(lambda: len(place.broker.read(narrow)) >= 40, daemon.text)
        assert daemon.stop() == 0, daemon.text()
    finally:
        daemon.close()
    found = place.broker.read(narrow)
    oracle = Oracle(bundle.path)
    steps = [oracle.step("any", ONE).tobytes() for _ in range(5)]
    for stream in range(8):
        mine = [i for i, key in enumerate(found.keys) if key == b"s%d" % stream]
        assert len({int(found.partitions[i]) for i in mine}) == 1
        assert [found.values[i] for i in mine] == steps
    assert len(set(found.partitions.tolist())) > 1


def test_output_larger_than_the_broker_takes_is_a_dead_letter_and_the_rest_goes_on(kafka_place, bundle, tmp_path):
    place = kafka_place
    many = np.tile(ONE, 75_000).tobytes()  # 75,000 rows in, as many of 2 out
    config = tmp_path / "small.toml"
    limit = "message.max.bytes" if place.client == "confluent" else "max.request.size"
    config.write_text(f'[kafka]\n"{limit}" = 500000\n')
    place.feed([(0, b"a", ONE.tobytes()), (0, b"a", many), (0, b"b", ONE.tobytes())])
    serve_until(place, bundle, 2, "--config", str(config), dead=1)
    assert place.read().keys == [b"a", b"b"]
    headers = dict((place.read("dead").headers or [[]])[0])
    assert b"600001 bytes" in headers["edge-rnn-error"]


def test_watchdog_ends_a_process_whose_loop_hangs_and_says_where(tmp_path):
    program = tmp_path / "hangs.py"
    program.write_text(
        textwrap.dedent(
            """
            import time
            from runtime.daemon.watchdog import Watchdog

            began = time.monotonic()
            Watchdog(lambda: began, 0.5, every_s=0.05)

            def stuck_in_here():
                time.sleep(60)

            stuck_in_here()
            """
        )
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=30, env=os.environ)
    assert done.returncode == 1
    assert "stuck_in_here" in done.stderr
    assert "has not turned" in done.stderr


def test_watchdog_leaves_a_loop_alone_that_turns(tmp_path):
    import threading
    import time

    from runtime.daemon.watchdog import Watchdog

    ended = threading.Event()
    watchdog = Watchdog(time.monotonic, 0.2, end=lambda _status: ended.set(), every_s=0.02)
    assert not ended.wait(0.6)
    watchdog.stop()
