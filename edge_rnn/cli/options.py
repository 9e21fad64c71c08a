"""Options that export and import share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str | None, typer.Option(help="Name of the bundle; default: the source's.")]
Tolerance = Annotated[float, typer.Option(help="Error allowed per unit of the largest value; the bundle records it.")]
Precision = Annotated[
    str, typer.Option(help="fp32, int8 (integer products, streams kept apart) or fp16 (weights of half the size).")
]
Calibration = Annotated[
    Path | None,
    typer.Option(help="Sequences like those of use: .csv with a key column, .npz or .wav.", show_default=False),
]
MaxDrop = Annotated[
    float | None, typer.Option(help="Largest share of other decisions, or error per deviation, allowed  [0.05]")
]
WeightBits = Annotated[
    int | None, typer.Option(help="Bits of int8 weights: 8, or 7 for CPUs without VNNI  [as this CPU is]")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Framing = Annotated[
    str | None, typer.Option(help="hop=N,context=N,rate=N: how samples become the windows that the input takes.")
]
FrontEnd = Annotated[
    str | None,
    typer.Option(help="stft, power, log-mel or mfcc, with :name=value,... : put before an input of features."),
]
