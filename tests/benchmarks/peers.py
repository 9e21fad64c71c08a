"""The loops to compare with, each a process of its own: ``python -m tests.benchmarks.peers PEER BROKER GRAPH IN OUT N``.

``pass``        consume and produce, no model: what the broker and the client allow
``one``         one record, one call, state in a dictionary: what most people write first
``batched``     each poll's records in as few calls as there are repeats, state in arrays, not durable
``batched-eos`` the same, outputs and offsets in a transaction every 100 ms; the state is still not durable

Each prints ``{"events": N, "seconds": s}``: from the first record polled to the last output acknowledged.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
from confluent_kafka import Consumer, Producer

POLL_RECORDS = 2000
TRANSACTION_S = 0.1


class Model:
    """The step graph, one thread, states by name: what goes in as ``h`` comes out as ``h.next``."""

    def __init__(self, graph: str) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        following = {node.name for node in self._session.get_outputs() if node.name.endswith(".next")}
        inputs = {node.name: node.shape[2] for node in self._session.get_inputs()}
        self._names = [name for name in inputs if f"{name}.next" in following]
        self._x = next(name for name in inputs if name not in self._names)
        y = next(node.name for node in self._session.get_outputs() if node.name not in following)
        self._wanted = [y, *(f"{name}.next" for name in self._names)]
        self.features = inputs[self._x]
        self.widths = [inputs[name] for name in self._names]

    def __call__(self, x: np.ndarray, states: list[np.ndarray]) -> list[np.ndarray]:
        """``x`` [1, batch, feature], states [1, batch, width]; returns output and new states."""
        return self._session.run(self._wanted, {self._x: x, **dict(zip(self._names, states, strict=True))})


def consumer(broker: str, topic: str) -> Consumer:
    found = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    found.subscribe([topic])
    return found


def producer(broker: str, **more: object) -> Producer:
    return Producer({"bootstrap.servers": broker, "linger.ms": 5, "queue.buffering.max.messages": 1000000, **more})


def send_all(out: Producer, topic: str, messages: list[Any], values: list[bytes]) -> None:
    for message, value in zip(messages, values, strict=True):
        while True:
            try:
                out.produce(topic, value, message.key())
                break
            except BufferError:
                out.poll(0.05)
    out.poll(0)


class Batched:
    """Rounds of distinct streams within a poll, states in arrays."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._slots: dict[bytes, int] = {}
        self._arrays = [np.zeros((1024, width), np.float32) for width in model.widths]

    def __call__(self, messages: list[Any]) -> list[tuple[list[Any], list[bytes]]]:
        rounds: list[list[Any]] = []
        seen: dict[bytes, int] = {}
        for message in messages:
            nth = seen.get(message.key(), 0)
            seen[message.key()] = nth + 1
            if nth == len(rounds):
                rounds.append([])
            rounds[nth].append(message)
        done = []
        for some in rounds:
            slots = np.array([self._slots.setdefault(m.key(), len(self._slots)) for m in some])
            if slots.max() >= len(self._arrays[0]):
                self._arrays = [
                    np.concatenate([a, np.zeros((max(len(a), slots.max()), a.shape[1]), np.float32)])
                    for a in self._arrays
                ]
            x = np.frombuffer(b"".join(m.value() for m in some), np.float32).reshape(1, -1, self._model.features)
            y, *states = self._model(x, [a[slots][None] for a in self._arrays])
            for array, state in zip(self._arrays, states, strict=True):
                array[slots] = state[0]
            done.append((some, [row.tobytes() for row in y[0]]))
        return done


def run_pass(broker: str, source: str, target: str, n: int, _model: Model) -> float:
    return _loop(broker, source, target, n, lambda messages: [(messages, [m.value() for m in messages])])


def run_batched(broker: str, source: str, target: str, n: int, model: Model) -> float:
    return _loop(broker, source, target, n, Batched(model))


def run_one(broker: str, source: str, target: str, n: int, model: Model) -> float:
    inputs, out, states, seen, began = consumer(broker, source), producer(broker), {}, 0, 0.0
    first = [np.zeros((1, 1, width), np.float32) for width in model.widths]
    while seen < n:
        message = inputs.poll(1.0)
        if message is None:
            continue
        began = began or time.perf_counter()
        x = np.frombuffer(message.value(), np.float32).reshape(1, 1, -1)
        y, *states[message.key()] = model(x, states.get(message.key(), first))
        send_all(out, target, [message], [y.tobytes()])
        seen += 1
    out.flush()
    return time.perf_counter() - began


def run_batched_eos(broker: str, source: str, target: str, n: int, model: Model) -> float:
    inputs, batched = consumer(broker, source), Batched(model)
    out = producer(broker, **{"transactional.id": uuid.uuid4().hex})
    out.init_transactions()
    seen, began, opened = 0, 0.0, time.perf_counter()
    out.begin_transaction()
    while seen < n:
        messages = inputs.consume(POLL_RECORDS, 0.5)
        began = began or (time.perf_counter() if messages else 0.0)
        for some, values in batched(messages):
            send_all(out, target, some, values)
        seen += len(messages)
        if time.perf_counter() - opened > TRANSACTION_S or seen >= n:
            positions = inputs.position(inputs.assignment())
            out.send_offsets_to_transaction(positions, inputs.consumer_group_metadata())
            out.commit_transaction()
            opened = time.perf_counter()
            if seen < n:
                out.begin_transaction()
    return time.perf_counter() - began


def _loop(broker: str, source: str, target: str, n: int, work: Callable[[list[Any]], Any]) -> float:
    inputs, out, seen, began = consumer(broker, source), producer(broker), 0, 0.0
    while seen < n:
        messages = inputs.consume(POLL_RECORDS, 0.5)
        began = began or (time.perf_counter() if messages else 0.0)
        for some, values in work(messages):
            send_all(out, target, some, values)
        seen += len(messages)
    out.flush()
    return time.perf_counter() - began


PEERS = {"pass": run_pass, "one": run_one, "batched": run_batched, "batched-eos": run_batched_eos}


def main() -> None:
    peer, broker, graph, source, target, n = sys.argv[1:]
    seconds = PEERS[peer](broker, source, target, int(n), Model(graph))
    print(json.dumps({"events": int(n), "seconds": seconds}))


if __name__ == "__main__":
    main()
