"""``edge-rnn state``: what a group remembers of its streams, and how to have it forget."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_rnn.contract.errors import StateError, UsageError

if TYPE_CHECKING:
    from runtime.checkpoint.dropping import Drop
    from runtime.daemon.state_tools import GroupInventory, StateSettings

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)

Group = Annotated[str | None, typer.Option(help="Consumer group of the daemon.")]
Broker = Annotated[
    str | None, typer.Option("--broker", "--bootstrap-server", help="HOST:PORT[,...] or sqlite:PATH  [localhost:9092]")
]
Client = Annotated[str | None, typer.Option(help="kafka-python or confluent  [kafka-python]")]
Input = Annotated[str | None, typer.Option("--input", help="The group's input topic, if it has read several.")]
Config = Annotated[Path | None, typer.Option(help="The daemon's TOML file; its [kafka] table goes to the client.")]
Partition = Annotated[int | None, typer.Option(min=0, help="Only this partition.")]
Hexadecimal = Annotated[bool, typer.Option("--hex", help="KEY is hexadecimal, for one that is no text.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def root() -> None:
    """Look at the states that a group keeps, or have streams begin anew.

    Example: edge-rnn state list --group activity --broker localhost:9092
    """


@app.command("list")
def list_(
    group: Group = None,
    broker: Broker = None,
    client: Client = None,
    input: Input = None,
    config: Config = None,
    streams: Annotated[bool, typer.Option("--streams", help="Also list every stream.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what a group has committed and stored, by partition and model; the daemon may run.

    Example: edge-rnn state list --group activity --broker localhost:9092 --streams
    """
    from edge_rnn.cli.state_text import as_dict, lines
    from runtime.daemon.state_tools import StateTools

    with StateTools(_settings(config, group=group, broker=broker, client=client, input=input)) as tools:
        found = tools.look()
    if as_json:
        print(json.dumps(as_dict(found, streams=streams), indent=2))
        return
    for line in lines(found, streams=streams):
        print(line)


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="The stream's key.", show_default=False)],
    group: Group = None,
    broker: Broker = None,
    client: Client = None,
    input: Input = None,
    config: Config = None,
    partition: Partition = None,
    bundle: Annotated[Path | None, typer.Option(help="The bundle that wrote it: its states by name.")] = None,
    mode: Annotated[str | None, typer.Option(help="The daemon's, with --bundle  [step]")] = None,
    codec: Annotated[str | None, typer.Option(help="The daemon's, with --bundle  [json]")] = None,
    idle_reset: Annotated[str | None, typer.Option(help="The daemon's, with --bundle.")] = None,
    null_key: Annotated[str | None, typer.Option(help="The daemon's, with --bundle.")] = None,
    hexadecimal: Hexadecimal = False,
    as_json: AsJson = False,
) -> None:
    """Show what is stored of one stream; with its bundle, the values of its states.

    Example: edge-rnn state show sensor-17 --group activity --broker localhost:9092 --bundle activity.bundle

    Streams whose last records are not in a snapshot yet are shown as of their snapshot.
    """
    from edge_rnn.cli.state_text import stream_dict, stream_lines
    from edge_rnn.contract.bundle import open_bundle
    from edge_rnn.contract.fingerprint import state_fingerprint
    from runtime.daemon.state_tools import StateTools, only_fingerprint, state_values

    opened = None if bundle is None else open_bundle(bundle)
    settings = _settings(
        config,
        group=group,
        broker=broker,
        client=client,
        input=input,
        mode=mode,
        codec=codec,
        idle_reset=idle_reset,
        null_key=null_key,
    )
    wanted = _key(key, hexadecimal)
    with StateTools(settings) as tools:
        found = tools.look().streams(wanted, partition)
    if not found:
        raise StateError(f"nothing is stored of stream {wanted!r}; it may be known from its input only, or not at all")
    values: list[dict[str, Any]] = [{} for _ in found]
    if opened is not None:
        found = only_fingerprint(found, state_fingerprint(opened.manifest, settings.replay_settings).hex())
        values = [{} if stream.closed else state_values(stream, opened.manifest) for stream in found]
    now_ms = int(time.time() * 1000)
    if as_json:
        shown = [stream_dict(stream, now_ms, each) for stream, each in zip(found, values, strict=True)]
        print(json.dumps(shown, indent=2))
        return
    for stream, each in zip(found, values, strict=True):
        for line in stream_lines(stream, now_ms, each):
            print(line)


@app.command()
def drop(
    key: Annotated[str | None, typer.Argument(help="The stream's key.", show_default=False)] = None,
    every: Annotated[bool, typer.Option("--all", help="All streams begin anew.")] = False,
    fingerprint: Annotated[
        str | None, typer.Option(help="Forget the snapshots of a model that is not in use any more.")
    ] = None,
    group: Group = None,
    broker: Broker = None,
    client: Client = None,
    input: Input = None,
    config: Config = None,
    partition: Partition = None,
    hexadecimal: Hexadecimal = False,
    wait: Annotated[str, typer.Option(help="Wait so long for stopped members to be gone.")] = "0",
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")] = False,
) -> None:
    """Have one stream, or all, begin anew with the next record; or forget an old model.

    Example: edge-rnn state drop sensor-17 --group activity --broker localhost:9092 --yes

    Offsets stay and no output is repeated. The group must not run: it holds its states in memory.
    """
    from edge_rnn.contract.units import parse_duration
    from runtime.daemon.state_tools import StateTools, parse_fingerprint

    if (key is not None) + every + (fingerprint is not None) != 1:
        raise UsageError("give one of KEY, --all and --fingerprint; see edge-rnn state drop --help")
    wait_s = parse_duration(wait, "--wait")
    wanted = None if key is None else _key(key, hexadecimal)
    model = None if fingerprint is None else parse_fingerprint(fingerprint)
    with StateTools(_settings(config, group=group, broker=broker, client=client, input=input)) as tools:
        if yes:
            tools.await_no_members(wait_s)
        seen = tools.look()
        drops = _plan(seen, wanted, model, partition)
        told = f"{sum(each.streams for each in drops)} of partition {', '.join(str(d.partition) for d in drops)}"
        what = f"stream {wanted!r}" if wanted is not None else f"the stored streams of {model or 'every model'}"
        if not yes:
            raise UsageError(f"would drop {what} of group {seen.group!r}: {told}; add --yes to do it")
        tools.drop(seen, drops)
    print(f"dropped {what} of group {seen.group!r}: {told}", file=sys.stderr)


def _plan(seen: GroupInventory, key: bytes | None, fingerprint: str | None, partition: int | None) -> list[Drop]:
    """What to write, by partition; those without anything to drop are left out. Raises `StateError`."""
    from runtime.checkpoint.dropping import drop_all, drop_fingerprint, drop_stream

    chosen = seen.chosen(partition)
    if key is not None:
        named = partition is not None
        holding = [
            here
            for here in chosen
            if any(each.key == key for each in here.streams) or (named and here.position is not None)
        ]
        if not holding:
            raise StateError(
                f"nothing is stored of stream {key!r} of group {seen.group!r}"
                + ("" if named else "; if it is known from its input only, name its --partition")
            )
        return [drop_stream(here, key) for here in holding]
    if fingerprint is None:
        return [drop_all(here) for here in chosen if here.streams or here.position is not None]
    drops = [drop_fingerprint(here, fingerprint) for here in chosen if fingerprint in here.fingerprints]
    if not drops:
        known = ", ".join(sorted({each for here in chosen for each in here.fingerprints})) or "none"
        raise StateError(f"nothing is stored of fingerprint {fingerprint} of group {seen.group!r}; found {known}")
    return drops


def _settings(config: Path | None, **flags: str | None) -> StateSettings:
    from edge_rnn.contract.config import resolve
    from runtime.daemon.state_tools import StateSettings

    return resolve(StateSettings, flags, config)


def _key(text: str, hexadecimal: bool) -> bytes:
    if not hexadecimal:
        return text.encode()
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise UsageError(f"KEY is {text!r}, expected hexadecimal digits with --hex") from None
