"""``edge-rnn produce``: rows of a file into a topic, at a given rate."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, cast

import typer

from edge_rnn.contract.errors import TopicError, UsageError


def command(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="Rows: .csv, .jsonl or .parquet with a key column; sound: .wav or .pcm."),
    ],
    topic: Annotated[str, typer.Option(help="Topic to write.")],
    broker: Annotated[
        str, typer.Option("--broker", "--bootstrap-server", envvar="EDGE_RNN_BROKER", help="HOST:PORT or sqlite:PATH")
    ] = "localhost:9092",
    client: Annotated[str, typer.Option(help="kafka-python or confluent", envvar="EDGE_RNN_CLIENT")] = "kafka-python",
    codec: Annotated[str, typer.Option(help="json, f32 or pcm16")] = "json",
    features: Annotated[
        str | None, typer.Option(help="Columns to send, in order, separated by commas  [all but key and timestamp]")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Records a second  [as fast as possible]")] = None,
    create_topics: Annotated[bool, typer.Option("--create-topics", help="Make the topic if it is missing.")] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of a topic that is made.")] = 4,
) -> None:
    """Send the rows of a file to a topic, one record each, in the file's order.

    Example: edge-rnn produce rows.csv --topic sensors --broker localhost:9092 --rate 1000
    """
    import numpy as np

    from runtime.core.batch import BY_KEY, Outgoing
    from runtime.transports.connect import open_broker
    from runtime.transports.files import read_batches
    from runtime.transports.protocol import Client

    if codec not in ("json", "f32", "pcm16"):
        raise UsageError(f"--codec is {codec!r}, expected json, f32 or pcm16")
    if client not in ("kafka-python", "confluent"):
        raise UsageError(f"--client is {client!r}, expected kafka-python or confluent")
    if rate is not None and not 0 < rate < float("inf"):
        raise UsageError(f"--rate is {rate}, expected records a second, more than 0")
    names = [name.strip() for name in features.split(",")] if features else None
    # Small batches at a low rate keep the spacing even; a tenth of a second is one write.
    batch_records = 4096 if rate is None else max(1, min(4096, int(rate / 10)))
    batches = read_batches(source, codec, names, batch_records)
    first = next(batches, None)
    store = open_broker(broker, cast(Client, client))
    sent = 0
    began = time.monotonic()
    try:
        if create_topics:
            store.create_topic(topic, partitions)
        elif store.partitions(topic) is None:
            raise TopicError(f"topic {topic!r} does not exist at {broker}; make it, or give --create-topics")
        batch = first
        while batch is not None:
            if rate is not None:
                time.sleep(max(0.0, began + sent / rate - time.monotonic()))
            timestamps = np.where(batch.timestamps < 0, int(time.time() * 1000), batch.timestamps)
            chosen = np.full(len(batch), BY_KEY, np.int32)
            store.write(topic, Outgoing(chosen, timestamps, batch.keys, batch.values))
            sent += len(batch)
            batch = next(batches, None)
    finally:
        store.close()
    seconds = time.monotonic() - began
    print(f"{sent} records to {topic} in {seconds:.1f} s", file=sys.stderr)
