"""The command; see `tests.chaos`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.chaos.driver import ChaosSettings, arguments_of, network_or_reason, run
from tests.chaos.faults import KINDS
from tests.kafka.broker import KafkaUnavailable


def main() -> int:
    """Run once; exit status 1 where any output is not as it must be."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Break a running system from a seed; check that every input has its one right output.",
        epilog="faults:\n" + "\n".join(f"  {kind:<12} {what}" for kind, what in KINDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--transport", choices=["confluent", "kafka-python", "sqlite"], default="confluent")
    parser.add_argument("--nodes", type=int, choices=[1, 3], default=1, help="nodes of Kafka (default: 1)")
    parser.add_argument("--members", type=int, default=0, help="daemons (default: 2 on Kafka, 1 on SQLite)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long input is fed (default: 60)")
    parser.add_argument("--faults", type=int, default=15, help="most faults to inject (default: 15)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=400.0, help="input records a second (default: 400)")
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--network", action="store_true", help="hosts in network namespaces, which get cut off (root)")
    parser.add_argument(
        "--quick", type=int, default=1, help="the quick faults come so many times as often (default: 1)"
    )
    parser.add_argument("--kinds", default="", help="only these faults, separated by commas")
    parser.add_argument("--daemon-argument", action="append", default=[], help="more for every `edge-rnn run`")
    parser.add_argument("--property", action="append", default=[], metavar="NAME=VALUE", help="of the daemons' clients")
    parser.add_argument("--json", type=Path, help="write the report here")
    parser.add_argument("--logs", type=Path, help="keep the daemons' logs in this folder")
    options = parser.parse_args()
    unknown = sorted({kind for kind in options.kinds.split(",") if kind} - set(KINDS))
    if unknown:
        parser.error(f"unknown fault {unknown[0]!r}; known are {', '.join(KINDS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    network, reason = network_or_reason(options.network)
    if reason:
        print(f"no network faults: {reason}", file=sys.stderr)
    settings = ChaosSettings(
        transport=options.transport,
        nodes=options.nodes,
        members=options.members,
        seconds=options.seconds,
        faults=options.faults,
        seed=options.seed,
        rate=options.rate,
        streams=options.streams,
        network=network,
        quick=options.quick,
        kinds=tuple(kind for kind in options.kinds.split(",") if kind),
        arguments=arguments_of(options.daemon_argument),
        properties=tuple(options.property),
        logs=options.logs,
    )
    try:
        report = run(settings, lambda line: print(line, file=sys.stderr, flush=True))
    except KafkaUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        report.write(options.json)
    print(report.table())
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
