"""``edge-rnn export``: a run or a PyTorch module in, a verified bundle out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edge_rnn.cli.engines import ahead_of, show_engines
from edge_rnn.cli.options import (
    Calibration,
    Framing,
    FrontEnd,
    Json,
    MaxDrop,
    Name,
    Precision,
    Tolerance,
    WeightBits,
)
from edge_rnn.cli.precision import STREAMS, made_in
from edge_rnn.cli.written import show_gate, show_written
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import MissingDependency
from edge_rnn.contract.framing import parse_framing
from edge_rnn.contract.front_end import parse_front_end
from edge_rnn.contract.gates import TOLERANCE

NEEDED = ("torch", "onnx", "safetensors")


def command(
    source: Annotated[str, typer.Argument(help="A RUN directory, FILE.py:NAME or module:NAME.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory of the bundle.", show_default=False)],
    name: Name = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="NAME:DTYPE:AXES, e.g. x:float32:batch,time,5; once for each argument."),
    ] = None,
    states: Annotated[
        list[str] | None,
        typer.Option("--state", help="ARG=INDEX: an argument of forward that is a state, and its new value's place."),
    ] = None,
    args: Annotated[str | None, typer.Option(help="JSON arguments of the class or function that NAME is.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="State dict: .safetensors, or what torch.save wrote.", show_default=False)
    ] = None,
    framing: Framing = None,
    front_end: FrontEnd = None,
    tolerance: Tolerance = TOLERANCE,
    precision: Precision = "fp32",
    calibration: Calibration = None,
    max_drop: MaxDrop = None,
    weight_bits: WeightBits = None,
    target: Annotated[str, typer.Option(help="onnx, or tensorrt: engines for --gpu too, built ahead.")] = "onnx",
    gpu: Annotated[
        str | None, typer.Option(help="GPU that engines are for, e.g. sm_89; it need not be here.", show_default=False)
    ] = None,
    cache_dir: Annotated[
        Path | None, typer.Option(help="Where engines are kept  [~/.cache/edge-rnn/engines]", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Export a trained model as a bundle: a step graph whose state goes in and comes out.

    The graph is proved against the module before anything is written: over 256 steps, alone and
    in a batch, in one piece and in chunks.

    Example: edge-rnn export runs/activity -o bundles/activity

    Example: edge-rnn export model.py:Net -o bundles/net --input x:float32:batch,time,5 --weights net.pt

    Example: edge-rnn export runs/activity -o bundles/activity-int8 --precision int8 --max-drop 0.01

    Example: edge-rnn export runs/keyword -o bundles/keyword --framing hop=256,context=128,rate=11025

    Example: edge-rnn export cell.py:Cell -o bundles/cell --input x:float32:batch,5 --state h=1

    Example: edge-rnn export runs/activity -o bundles/activity --target tensorrt --gpu sm_89 --precision fp16
    """
    try:
        from exporters.export import export_bundle
        from exporters.inputs import parse_inputs, parse_states
        from exporters.source import resolve_source
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in NEEDED:
            raise
        raise MissingDependency(
            f"exporting needs {error.name}, which is not installed; pip install 'edge-rnn[train]'"
        ) from error

    ahead = ahead_of(
        target, gpu, cache_dir, precision, calibration=calibration, max_drop=max_drop, weight_bits=weight_bits
    )
    specs, pairs = parse_inputs(inputs or []), parse_states(states or [])
    frames = None if framing is None else parse_framing(framing)
    front = None if front_end is None else parse_front_end(front_end, frames)
    resolved = resolve_source(source, arguments=args, weights=weights)
    progress = None if json else show_gate
    if precision in ("int8", "fp16") and calibration is None and (Path(source) / STREAMS).is_file():
        calibration = Path(source) / STREAMS

    def make(path: Path) -> Bundle:
        return export_bundle(
            resolved,
            path,
            name=name,
            inputs=specs,
            states=pairs,
            framing=frames,
            front_end=front,
            tolerance=tolerance,
            progress=progress,
        )

    if ahead is None:
        bundle = made_in(precision, output, make, calibration=calibration, max_drop=max_drop, weight_bits=weight_bits)
    else:  # the precision is the engines'
        bundle = make(output)
        ahead = ahead if calibration is None else replace(ahead, calibration=calibration)
    for spec in bundle.manifest.outputs:
        if spec.note is not None:
            print(f"note: the output {spec.name!r} is the {spec.note}, given at every step", file=sys.stderr)
    if weights is None and not Path(source).is_dir():
        print(f"note: without --weights the weights are those that {source} itself sets", file=sys.stderr)
    if ahead is None:
        show_written(bundle, output, json=json)
        return
    engines = ahead.build(bundle)
    show_written(bundle, output, json=json, engines=engines)
    if not json:
        show_engines(bundle, engines)
