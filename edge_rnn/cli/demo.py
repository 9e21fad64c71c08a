"""``edge-rnn demo``: all of it in a minute, and a page to look at."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_rnn.contract.errors import EdgeRnnError, MissingDependency, UsageError

if TYPE_CHECKING:
    from edge_rnn.demo.result import Result

NEEDED = ("torch", "onnx", "safetensors", "matplotlib", "rich", "aeon", "onnxruntime")


def command(
    out: Annotated[
        Path, typer.Option(help="Folder of all that the demo writes; an earlier demo's is replaced.")
    ] = Path("demo-out"),
    broker: Annotated[
        str | None,
        typer.Option("--broker", "--bootstrap-server", help="HOST:PORT or sqlite:PATH  [a store in the folder]"),
    ] = None,
    client: Annotated[str, typer.Option(help="kafka-python or confluent", envvar="EDGE_RNN_CLIENT")] = "kafka-python",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the training.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Train, export, verify, serve live streams, kill the daemon, recover; ends with a page of pictures.

    Example: edge-rnn demo

    Example: edge-rnn demo --broker localhost:9092 --out demo-kafka

    Needs no broker and no network: records go through a file unless --broker says otherwise. Status
    1 when a record was lost, doubled, out of order or other than it must be.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependency(
            f"the demo needs {', '.join(missing)}, which is not installed; pip install 'edge-rnn[cpu,recipes]'"
        )
    if client not in ("kafka-python", "confluent"):
        raise UsageError(f"--client is {client!r}, expected kafka-python or confluent")
    from edge_rnn.demo.narrator import Narrator

    narrator = Narrator(sys.stderr if as_json else sys.stdout)
    narrator.say(
        "A PyTorch RNN becomes a step graph, then a daemon that keeps a state per stream and survives kill -9."
    )
    from edge_rnn.demo.settings import DemoSettings  # these bring PyTorch, which takes seconds
    from edge_rnn.demo.story import tell, tell_verdict

    settings = DemoSettings(out=out, broker=broker, client=client, seed=seed)  # type: ignore[arg-type]
    with _sigterm_interrupts():
        result = tell(settings, narrator)
    if as_json:
        print(json.dumps(result.figures(), indent=2))
    else:
        print("\n" + "\n".join(summary(result, out / "index.html")))
    if not result.verdict.is_exact:
        raise EdgeRnnError(f"not exactly once: {tell_verdict(result.verdict)}; see {out / 'daemon.log'}")


def summary(result: Result, page: Path) -> list[str]:
    """The last lines on the terminal."""
    verdict = result.verdict
    recovery = "no output came after the kill"
    if result.recovery_s is not None:
        recovery = f"{result.recovery_s:.1f} s, {result.served.moments.streams_restored} streams with their state"
    wrong = verdict.different + verdict.out_of_order + verdict.unknown
    rows = [
        ("accuracy", f"{result.predictions.accuracy:.1%} (nearest neighbour: {result.made.baseline:.1%})"),
        ("records", f"{verdict.records_in:,} in, {verdict.outputs:,} out"),
        ("lost", str(verdict.lost)),
        ("doubled", str(verdict.doubled)),
        ("wrong", f"{wrong} (other bits, other order, or unknown)"),
        ("recovery", recovery),
        ("total time", f"{result.total_s:.0f} s"),
        ("page", str(page)),
    ]
    return [f"{name:<12}{text}" for name, text in rows]


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that it leaves no daemon behind."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
