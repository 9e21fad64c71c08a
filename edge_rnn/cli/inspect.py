"""``edge-rnn inspect``: what a bundle takes, gives and remembers, for a person or a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge_rnn.cli.gate_table import gate_lines
from edge_rnn.cli.precision import accuracy_lines
from edge_rnn.contract.bundle import Bundle, open_bundle
from edge_rnn.contract.signature import encode_manifest


def command(
    bundle: Annotated[Path, typer.Argument(help="Directory that export wrote.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print manifest, digest and sizes as JSON.")] = False,
) -> None:
    """Show what a bundle takes, gives and remembers, and the figures of its gates.

    Example: edge-rnn inspect bundles/activity
    """
    opened = open_bundle(bundle)
    if json:
        value = {
            "bundle": str(bundle),
            "digest": opened.digest,
            "state_bytes": opened.manifest.state_bytes,
            "manifest": msgspec.json.decode(encode_manifest(opened.manifest)),
        }
        print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
        return
    for line in describe(opened):
        print(line)


def describe(bundle: Bundle) -> Iterator[str]:
    """The lines that a person reads."""
    manifest = bundle.manifest
    source = ", ".join(f"{key} {value}" for key, value in manifest.source.items())
    yield f"{manifest.name}   {bundle.path}"
    yield from _table(
        [
            ("graph", f"{manifest.graph}, opset {manifest.opset}, {manifest.precision}"),
            ("needs", f"onnxruntime {manifest.onnxruntime} or later"),
            ("digest", bundle.digest),
            *([("made from", source)] if source else []),
            *([("framing", str(manifest.framing))] if manifest.framing else []),
            *([("batch", "one stream a call: streams take turns")] if manifest.batch_limit == 1 else []),
        ]
    )
    yield "\ninputs"
    yield from _table(
        [(spec.name, spec.dtype, _shape(spec.shape), _names("features", spec.features)) for spec in manifest.inputs]
        + [(constant.name, constant.dtype, f"always {constant.value}", "") for constant in manifest.constants]
    )
    yield "\noutputs"
    yield from _table(
        [
            (spec.name, spec.dtype, _shape(spec.shape), f"{spec.kind}{_names('; labels', spec.labels)}")
            for spec in manifest.outputs
        ]
    )
    yield f"\nstate of one stream: {manifest.state_bytes:,} bytes"
    yield from _table(
        [
            (spec.name, spec.dtype, _shape(spec.shape), f"{spec.input} -> {spec.output}", _initial(spec.initial))
            for spec in manifest.states
        ]
    )
    yield "\nfiles"
    yield from _table(
        [
            (name, f"{(bundle.path / name).stat().st_size:,} bytes", digest[:23] + "…")
            for name, digest in manifest.files.items()
        ]
    )
    yield "\ngates, when it was exported"
    lines = gate_lines(manifest.gates) if manifest.gates is not None else ["none recorded; run edge-rnn verify"]
    yield from (f"  {line}" for line in [*lines, *accuracy_lines(bundle)])


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as indented lines, each column as wide as its widest entry."""
    widths = [max(len(entry) for entry in column) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(entry.ljust(width) for entry, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _shape(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(str(dim) for dim in shape)}]"


def _names(what: str, names: Sequence[str] | None) -> str:
    return f"{what}: {', '.join(names)}" if names else ""


def _initial(initial: object) -> str:
    return "from zeros" if initial == "zeros" else f"from {initial}"
