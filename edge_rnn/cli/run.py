"""``edge-rnn run``: a bundle as a daemon."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

Text = str | None


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.")],
    input: Annotated[Text, typer.Option("--input", help="Topic to read.")] = None,
    output: Annotated[Text, typer.Option("--output", help="Topic to write.")] = None,
    broker: Annotated[
        Text,
        typer.Option("--broker", "--bootstrap-server", help="HOST:PORT[,...] or sqlite:PATH  [localhost:9092]"),
    ] = None,
    group: Annotated[Text, typer.Option(help="Consumer group  [the bundle's name]")] = None,
    client: Annotated[Text, typer.Option(help="kafka-python or confluent  [kafka-python]")] = None,
    mode: Annotated[
        Text, typer.Option(help="step: an output a record; generate: prompts in, a record a token out  [step]")
    ] = None,
    codec: Annotated[Text, typer.Option(help="How input values are written: json, f32 or pcm16  [json]")] = None,
    output_codec: Annotated[Text, typer.Option(help="json or f32  [as the input]")] = None,
    emit: Annotated[
        Text,
        typer.Option(help="every, or segments:on=0.5,off=0.35,min-speech=250ms,min-silence=100ms,pad=30ms  [every]"),
    ] = None,
    input_rate: Annotated[
        int | None, typer.Option(help="Samples a second of the input, where the model takes another rate.")
    ] = None,
    dead_letter: Annotated[Text, typer.Option(help="Topic for records that cannot be used.")] = None,
    create_topics: Annotated[
        bool | None,
        typer.Option("--create-topics", help="Make missing topics: input, output, dead letters."),
    ] = None,
    from_: Annotated[
        Text, typer.Option("--from", help="Where a group that never committed begins: earliest or latest  [earliest]")
    ] = None,
    commit_interval: Annotated[Text, typer.Option(help="Longest time between commits under load  [100ms]")] = None,
    snapshot_interval: Annotated[
        Text, typer.Option(help="Longest time that a changed state stays unsaved; 0: save in every commit  [30s]")
    ] = None,
    snapshot_budget: Annotated[
        Text, typer.Option(help="Most bytes of state saved a second  [what a 25th of the time does]")
    ] = None,
    max_replay: Annotated[int | None, typer.Option(help="Warn when a crash would replay more records.")] = None,
    idle_reset: Annotated[
        Text, typer.Option(help="Begin a stream anew after so long a silence, by record time, e.g. 10m.")
    ] = None,
    max_streams: Annotated[
        int | None,
        typer.Option(help="Most streams that have a state; beyond, those unused for longest begin anew  [no limit]"),
    ] = None,
    arena_dir: Annotated[
        Text, typer.Option(help="Keep states in scratch files of this directory, for more than fit in memory.")
    ] = None,
    instance: Annotated[Text, typer.Option(help="Name of this member  [a UUID kept in --state-dir]")] = None,
    state_dir: Annotated[Text, typer.Option(help="Where the member's name is kept.")] = None,
    startup_timeout: Annotated[Text, typer.Option(help="How long the broker may take to answer  [20s]")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes, each a member of the group; more cores for one topic  [1]")
    ] = None,
    headers: Annotated[Text, typer.Option(help="Headers of outputs: none, model, origin or trace  [none]")] = None,
    null_key: Annotated[
        Text, typer.Option(help="A record without key: dead-letter, or the stream of its partition  [dead-letter]")
    ] = None,
    delivery: Annotated[Text, typer.Option(help="exactly-once or at-least-once  [exactly-once]")] = None,
    on_new_model: Annotated[
        Text,
        typer.Option(help="Where another model ran: fail, reset, or warmup=10m (replay the last ten minutes)  [fail]"),
    ] = None,
    on_moved_offsets: Annotated[Text, typer.Option(help="Offsets that don't fit: fail or reset  [fail]")] = None,
    on_lost_input: Annotated[Text, typer.Option(help="Input dropped by retention: fail or reset  [fail]")] = None,
    max_records: Annotated[
        int | None, typer.Option(help="Most records a poll; fewer where the model is slow  [32768]")
    ] = None,
    background_records: Annotated[
        int | None, typer.Option(help="A poll of fewer goes straight through, without a thread between  [256]")
    ] = None,
    max_chunk: Annotated[int | None, typer.Option(help="Most steps along time in a call  [256]")] = None,
    threads: Annotated[int | None, typer.Option(help="Model calls at once  [measured at start]")] = None,
    device: Annotated[
        Text, typer.Option(help="auto, cpu, cuda or tensorrt; auto: what is fastest here, as measured at start  [auto]")
    ] = None,
    cache_dir: Annotated[
        Text, typer.Option(help="Where TensorRT's engines are kept  [~/.cache/edge-rnn/engines]")
    ] = None,
    engine_precision: Annotated[
        Text, typer.Option(help="Of TensorRT's products: fp32, fp16, bf16 or int8  [fp32]")
    ] = None,
    shadow: Annotated[
        Text,
        typer.Option(
            help="Read and infer like this group, beside it, and compare with its outputs; join, commit, write nothing,"
            " until POST /promote."
        ),
    ] = None,
    shadow_tolerance: Annotated[
        float | None, typer.Option(help="Outputs this close, relative to the largest, count as close  [0.001]")
    ] = None,
    leave: Annotated[
        bool | None,
        typer.Option("--leave", help="Leave the group on stopping, instead of being expected back."),
    ] = None,
    http: Annotated[
        Text, typer.Option(help="Serve /metrics, /healthz, /readyz at HOST:PORT; of a shadow also /shadow, /promote.")
    ] = None,
    log_format: Annotated[Text, typer.Option(help="text or json  [text]")] = None,
    log_level: Annotated[Text, typer.Option(help="debug, info, warning or error  [info]")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with the same names; its [kafka] table goes to the client."),
    ] = None,
) -> None:
    """Run a bundle as a daemon that keeps one state per stream.

    Example: edge-rnn run activity.bundle --input sensors --output activity --broker localhost:9092

    Each setting is taken from its flag, else EDGE_RNN_<NAME>, else the --config file, else its default.
    SIGTERM drains, commits and ends with status 0.
    """
    flags = {name: value for name, value in locals().items() if name not in ("bundle", "config", "from_")}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the daemon takes over there is nothing to drain

    from edge_rnn.cli.first_start import build_missing
    from edge_rnn.contract.config import resolve
    from runtime.daemon.lifecycle import serve
    from runtime.daemon.settings import RunSettings
    from runtime.daemon.workers import check_workers, end_with_parent, run_workers
    from runtime.observe.logs import configure_logs

    settings = resolve(RunSettings, {**flags, "from": from_}, config)
    configure_logs(settings.log_format, settings.log_level)
    check_workers(settings)
    if settings.mode == "step":
        build_missing(bundle, settings.device, settings.engines, settings.engine_precision)
    if settings.workers > 1:
        status = run_workers([sys.executable, "-m", "edge_rnn.cli", *sys.argv[1:]], settings)
        if status:
            raise typer.Exit(status)
        return
    end_with_parent()
    report = serve(bundle, settings)
    if report is not None:
        typer.echo(json.dumps(report))
