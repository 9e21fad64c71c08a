"""``edge-rnn bench``: what a bundle costs on this machine, stage by stage, and what to set."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, cast

import typer


def command(
    bundle: Annotated[Path, typer.Argument(help="Directory that export wrote.", show_default=False)],
    broker: Annotated[
        str | None,
        typer.Option(
            "--broker", "--bootstrap-server", help="HOST:PORT; topics are made and go again  [a temporary file]"
        ),
    ] = None,
    client: Annotated[str, typer.Option(help="kafka-python or confluent", envvar="EDGE_RNN_CLIENT")] = "kafka-python",
    codec: Annotated[str, typer.Option(help="json, f32 or pcm16: of the stages and end to end")] = "json",
    streams: Annotated[int, typer.Option(min=1, help="Streams whose states are kept.")] = 4000,
    records: Annotated[int, typer.Option(min=1000, help="Records for the transport and end to end.")] = 60_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write bench.json, bench.txt and bench.svg there.")] = None,
) -> None:
    """Measure a bundle on this machine: the model alone, every stage of a record's way, and the daemon end to end.

    Example: edge-rnn bench bundles/activity --broker localhost:9092 --client confluent --out bench

    Names the stage that limits and recommends settings of edge-rnn run, with the figures that explain them.
    Takes about half a minute; measure on a machine that does nothing else.
    """
    from edge_rnn.cli.bench_picture import draw
    from edge_rnn.cli.bench_text import lines
    from edge_rnn.contract.errors import UsageError
    from runtime.daemon.measure.bench import run_bench
    from runtime.transports.protocol import Client

    if codec not in ("json", "f32", "pcm16"):
        raise UsageError(f"--codec is {codec!r}, expected json, f32 or pcm16")
    if client not in ("kafka-python", "confluent"):
        raise UsageError(f"--client is {client!r}, expected kafka-python or confluent")
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{out} cannot be made: {error.strerror}; give another --out") from error
    tell = (lambda text: print(text, file=sys.stderr, flush=True)) if sys.stderr.isatty() else lambda _text: None
    report = run_bench(bundle, broker, cast(Client, client), codec, streams, records, tell)
    value = json.dumps(report.as_json(), indent=2) + "\n"
    text = "\n".join(lines(report)) + "\n"
    if out is not None:
        (out / "bench.json").write_text(value)
        (out / "bench.txt").write_text(text)
        (out / "bench.svg").write_text(draw(report))
    print(value if as_json else text, end="")
