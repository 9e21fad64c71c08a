"""``edge-rnn import``: an ONNX file that others exported in, a verified bundle out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from edge_rnn.cli.gate_table import gate_lines, gate_row
from edge_rnn.cli.precision import accuracy_lines, made_in
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import MissingDependency
from edge_rnn.contract.framing import parse_framing
from edge_rnn.contract.front_end import parse_front_end
from edge_rnn.contract.gates import TOLERANCE
from edge_rnn.contract.signature import GateFigure

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
    framing: Annotated[
        str | None, typer.Option(help="hop=N,context=N,rate=N: how samples become the windows that the input takes.")
    ] = None,
    front_end: Annotated[
        str | None,
        typer.Option(help="stft, power, log-mel or mfcc, with :name=value,... : put before an input of features."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the bundle; default: the file's.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="Error allowed per unit of the largest value; the bundle records it.")
    ] = TOLERANCE,
    precision: Annotated[
        str, typer.Option(help="fp32, int8 (integer products, streams kept apart) or fp16 (weights of half the size).")
    ] = "fp32",
    calibration: Annotated[
        Path | None,
        typer.Option(help="Sequences like those of use: .csv with a key column, .npz or .wav.", show_default=False),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Largest share of other decisions, or error per deviation, allowed  [0.05]")
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(help="Bits of int8 weights: 8, or 7 for CPUs without VNNI  [as this CPU is]")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
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
        progress = None if json else _show
        found = import_bundle(model, path, asked, name=name, tolerance=tolerance, told=told, progress=progress)
        return found.bundle

    bundle = made_in(precision, output, make, calibration=calibration, max_drop=max_drop, weight_bits=weight_bits)
    gates = bundle.manifest.gates
    assert gates is not None
    if json:
        states_found = [{"input": p.input, "output": p.output, "why": p.why} for p in readings[0].wiring.pairs]
        result = {"bundle": str(output), "name": bundle.manifest.name, "digest": bundle.digest, "states": states_found}
        print(
            msgspec.json.format(
                msgspec.json.encode({**result, "gates": gates, "accuracy": bundle.manifest.accuracy}), indent=2
            ).decode()
        )
        return
    for line in [*gate_lines(gates), *accuracy_lines(bundle)]:
        print(line)
    print(f"\nwrote {output}; look at it with: edge-rnn inspect {output}")


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


def _show(gate: str, figure: GateFigure) -> None:
    """Show each gate as it passes, where a person watches."""
    if sys.stderr.isatty():
        print(gate_row(gate, figure), file=sys.stderr)
