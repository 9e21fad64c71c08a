"""Loops over confluent-kafka, with and without transactions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Producer

from tests.benchmarks.peers.began import Began
from tests.benchmarks.peers.model import Batched, Entry, Model

POLL_RECORDS = 2000
TRANSACTION_S = 0.1
PAIRS = Callable[[list[Any]], list[Entry]]


def consumer(broker: str, topic: str, **more: object) -> Consumer:
    """A consumer of a new group, from the topic's beginning unless told otherwise."""
    found = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **more,
        }
    )
    found.subscribe([topic])
    return found


def producer(broker: str, **more: object) -> Producer:
    """A producer that waits 5 ms for more, unless told otherwise."""
    return Producer({"bootstrap.servers": broker, "linger.ms": 5, "queue.buffering.max.messages": 1000000, **more})


def send_all(out: Producer, topic: str, pairs: list[Entry]) -> None:
    """Queue keys and values, waiting where the queue is full."""
    send = out.produce
    for key, value in pairs:
        while True:
            try:
                send(topic, value, key)
                break
            except BufferError:
                out.poll(0.05)
    out.poll(0)


def unchanged(messages: list[Any]) -> list[Entry]:
    """Keys and values as they came."""
    return [(message.key(), message.value()) for message in messages]


def run_pass(broker: str, source: str, target: str, n: int, _graph: str) -> None:
    """Consume and produce, with nothing between that could be left out."""
    began, inputs, out, seen = Began(), consumer(broker, source), producer(broker), 0
    send = out.produce
    while seen < n:
        messages = inputs.consume(POLL_RECORDS, 1.0)
        began(messages)
        for message in messages:
            while True:
                try:
                    send(target, message.value(), message.key())
                    break
                except BufferError:
                    out.poll(0.05)
        out.poll(0)
        seen += len(messages)
    out.flush()


def run_pass_eos(broker: str, source: str, target: str, n: int, _graph: str) -> None:
    """Consume and produce in transactions."""
    _loop_eos(broker, source, target, n, unchanged)


def run_batched(broker: str, source: str, target: str, n: int, graph: str) -> None:
    """The expert's loop."""
    batched = Batched(graph)
    _loop(broker, source, target, n, lambda messages: batched(unchanged(messages)))


def run_batched_eos(broker: str, source: str, target: str, n: int, graph: str) -> None:
    """The expert's loop in transactions."""
    batched = Batched(graph)
    _loop_eos(broker, source, target, n, lambda messages: batched(unchanged(messages)))


def run_one(broker: str, source: str, target: str, n: int, graph: str) -> None:
    """One record, one call."""
    model, began = Model(graph), Began()
    inputs, out, seen = consumer(broker, source), producer(broker), 0
    states: dict[bytes, list[np.ndarray]] = {}
    first = [np.zeros((1, 1, width), np.float32) for width in model.widths]
    while seen < n:
        message = inputs.poll(1.0)
        if message is None:
            continue
        began([message])
        x = np.frombuffer(message.value(), np.float32).reshape(1, 1, -1)
        y, *states[message.key()] = model(x, states.get(message.key(), first))
        send_all(out, target, [(message.key(), y.tobytes())])
        seen += 1
    out.flush()


def run_bare_eos(broker: str, source: str, target: str, _n: int, _graph: str) -> None:
    """A transaction a poll, nothing waits; until the process is ended."""
    inputs = consumer(broker, source, **{"auto.offset.reset": "latest", "fetch.wait.max.ms": 5})
    out = producer(broker, **{"transactional.id": uuid.uuid4().hex, "linger.ms": 0})
    out.init_transactions()
    began = Began()
    while True:
        messages = inputs.consume(500, 0.005)
        began(inputs.assignment())
        if not messages:
            continue
        out.begin_transaction()
        send_all(out, target, unchanged(messages))
        _commit(inputs, out)


def _loop(broker: str, source: str, target: str, n: int, work: PAIRS) -> None:
    began, inputs, out, seen = Began(), consumer(broker, source), producer(broker), 0
    while seen < n:
        messages = inputs.consume(POLL_RECORDS, 1.0)
        began(messages)
        if messages:
            send_all(out, target, work(messages))
        seen += len(messages)
    out.flush()


def _loop_eos(broker: str, source: str, target: str, n: int, work: PAIRS) -> None:
    began, inputs, seen = Began(), consumer(broker, source), 0
    out = producer(broker, **{"transactional.id": uuid.uuid4().hex})
    out.init_transactions()
    out.begin_transaction()
    opened = time.perf_counter()
    while seen < n:
        messages = inputs.consume(POLL_RECORDS, 0.5)
        began(messages)
        if messages:
            send_all(out, target, work(messages))
        seen += len(messages)
        if time.perf_counter() - opened > TRANSACTION_S or seen >= n:
            _commit(inputs, out)
            opened = time.perf_counter()
            if seen < n:
                out.begin_transaction()


def _commit(inputs: Consumer, out: Producer) -> None:
    out.send_offsets_to_transaction(inputs.position(inputs.assignment()), inputs.consumer_group_metadata())
    out.commit_transaction()


PEERS = {
    "pass": run_pass,
    "pass-eos": run_pass_eos,
    "one": run_one,
    "batched": run_batched,
    "batched-eos": run_batched_eos,
    "bare-eos": run_bare_eos,
}
