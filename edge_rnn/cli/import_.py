"""``edge-rnn import``: an ONNX file that others exported in, a verified bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
from edge_rnn.cli.precision import made_in
from edge_rnn.cli.written import show_gate, show_written
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import MissingDependency
from edge_rnn.contract.framing import parse_framing
from edge_rnn.contract.front_end import parse_front_end
from edge_rnn.contract.gates import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporters.foreign.reading import Reading


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The ONNX file.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output-bundle", help="Directory of the bundle.", show_default=False)],
    states: Annotated[
        list[str] | None,
        typer.Option("--state", help="IN=OUT: an input and the output that is its next value; once a state."),
    ] = None,
    axes: Annotated[
        list[str] | None,
        typer.Option(
            "--axes", help="NAME=role,...: time, batch, feature or a size for each axis, e.g. x=batch,time,80."
        ),
    ] = None,
    constants: Annotated[
        list[str] | None, typer.Option("--constant", help="NAME=VALUE or NAME=@FILE.npy: an input that never changes.")
    ] = None,
    first: Annotated[
        str | None, typer.Option("--output", help="Which output is the main one; the others follow it.")
    ] = None,
    framing: Framing = None,
    front_end: FrontEnd = None,
    name: Name = None,
    tolerance: Tolerance = TOLERANCE,
    precision: Precision = "fp32",
    calibration: Calibration = None,
    max_drop: MaxDrop = None,
    weight_bits: WeightBits = None,
    json: Json = False,
) -> None:
    """Import an ONNX model as a bundle: its states paired or exposed, its axes found by running it.

    What is left out is proposed, shown, and proved: the step graph must give what the file itself
    gives in a plain loop, over 256 steps, alone and in a batch, however time is cut.

    Example: edge-rnn import silero_vad.onnx -o vad --constant sr=16000 --framing hop=512,context=64,rate=16000

    Example: edge-rnn import lstm.onnx -o lstm --state h_in=h_out --state c_in=c_out --axes x=batch,time,80
    """
    try:
        from exporters.foreign.asked import Asked, parse_axes, parse_constants, parse_pairs
        from exporters.foreign.importer import import_bundle
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in ("onnx", "google"):
            raise
        raise MissingDependency(
            "importing needs onnx, which is not installed; pip install 'edge-rnn[import]'"
        ) from error

    frames = None if framing is None else parse_framing(framing)
    asked = Asked(
        states=parse_pairs(states or []),
        axes=parse_axes(axes or []),
        constants=parse_constants(constants or []),
        output=first,
        framing=frames,
        front_end=None if front_end is None else parse_front_end(front_end, frames),
    )
    readings: list[Reading] = []

    def told(reading: Reading) -> None:
        readings.append(reading)
        if not json:
            _tell(reading)

    def make(path: Path) -> Bundle:
        progress = None if json else show_gate
        found = import_bundle(model, path, asked, name=name, tolerance=tolerance, told=told, progress=progress)
        return found.bundle

    bundle = made_in(precision, output, make, calibration=calibration, max_drop=max_drop, weight_bits=weight_bits)
    pairs = [{"input": p.input, "output": p.output, "why": p.why} for p in readings[0].wiring.pairs]
    show_written(bundle, output, json=json, states=pairs)


def _tell(reading: Reading) -> None:
    """Show how the file was read, before it is proved."""
    for line in _lines(reading):
        print(line, flush=True)


def _lines(reading: Reading) -> Iterator[str]:
    yield f"{reading.original.name} is read so:"
    layout = reading.layout
    for name, roles in layout.inputs.items():
        yield f"  input     {name}  [{', '.join(map(str, roles))}]"
    for name, (value, _) in reading.wiring.constants.items():
        yield f"  constant  {name}  {value.tolist() if value.size <= 4 else list(value.shape)}"
    for pair in reading.wiring.pairs:
        shape = ", ".join(map(str, layout.states[pair.input]))
        yield f"  state     {pair.input} -> {pair.output}  [{shape}]  ({pair.why})"
    for name in reading.wiring.outputs:
        yield f"  output    {name}  [{', '.join(map(str, layout.outputs[name]))}]"
    if layout.one_stream:
        yield "  the graph takes one stream a call: streams take turns"
    if not layout.has_time:
        yield "  the graph takes one step a call"
    if not reading.wiring.pairs:
        yield "  no state: every step stands for itself"
    yield ""
