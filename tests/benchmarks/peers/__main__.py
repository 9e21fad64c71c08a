"""``python -m tests.benchmarks.peers PEER BROKER GRAPH IN OUT N``.

``pass``                  consume and produce, no model: what the broker and the client allow
``pass-eos``              the same, outputs and offsets in a transaction every 100 ms
``one``                   one record, one call, state in a dictionary: what most people write first
``batched``               each poll's records in as few calls as there are repeats, state in arrays, not durable
``batched-eos``           the same, outputs and offsets in a transaction every 100 ms; the state is still not durable
``batched-kafka-python``  ``batched`` over kafka-python
``bare-eos``              consume and produce, a transaction a poll: the least latency that exactly-once allows
``quix-eos``              Quix Streams, exactly-once, state in its RocksDB with a changelog

Each prints ``{"began": seconds since 1970}`` with the first record and ``{"done": N}`` when the last output is
acknowledged (committed, where it is transactional). ``bare-eos`` goes on until it is ended.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Run one peer until it has done N events."""
    peer, broker, graph, source, target, n = sys.argv[1:]
    if peer == "quix-eos":
        from tests.benchmarks.peers.quix import run_quix as run
    elif peer == "batched-kafka-python":
        from tests.benchmarks.peers.kafka_python_loop import run_batched as run
    else:
        from tests.benchmarks.peers.confluent_loops import PEERS

        run = PEERS[peer]
    run(broker, source, target, int(n), graph)
    print(json.dumps({"done": int(n)}), flush=True)


if __name__ == "__main__":
    main()
