"""``--emit``: what is told of the model's rows, from its text to rules."""

from __future__ import annotations

from dataclasses import replace

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import Manifest, OutputSpec
from edge_rnn.contract.units import parse_duration
from runtime.core.segments import SegmentRules

EXAMPLE = "segments:on=0.5,off=0.35,min-speech=250ms,min-silence=100ms,pad=30ms"


def parse_emit(text: str, manifest: Manifest) -> SegmentRules | None:
    """Read ``--emit``: ``every`` (``None``) or ``segments:name=value,...``. Raises `UsageError`."""
    if text == "every":
        return None
    kind, _, rest = text.partition(":")
    if kind != "segments":
        raise UsageError(f"--emit is {text!r}, expected every or {EXAMPLE}")
    framing = manifest.framing
    step_s = framing.hop / framing.rate if framing is not None and framing.rate else 0.0
    defaults = {"min-speech": "250ms", "min-silence": "100ms", "pad": "30ms"} if step_s else {}
    given = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    unknown = sorted(set(given) - {"on", "off", "min-speech", "min-silence", "pad", "label"})
    if unknown:
        raise UsageError(f"--emit {text!r}: {unknown[0]!r} is unknown; e.g. {EXAMPLE}")
    lengths = {
        name: _steps(value, step_s, f"--emit {name}")
        for name, value in {**defaults, **given}.items()
        if name in ("min-speech", "min-silence", "pad")
    }
    try:
        on = float(given.get("on", 0.5))
        off = float(given.get("off", max(0.0, on - 0.15)))
    except ValueError as error:
        raise UsageError(f"--emit {text!r}: {error}; e.g. {EXAMPLE}") from error
    base = SegmentRules()
    rules = SegmentRules(
        on,
        off,
        max(1, lengths.get("min-speech", base.min_speech)),
        max(1, lengths.get("min-silence", base.min_silence)),
        lengths.get("pad", base.pad),
        step_s,
    )
    if not off <= on:
        raise UsageError(f"--emit {text!r}: off={off:g} is above on={on:g}")
    if rules.pad > rules.min_silence:
        raise UsageError(f"--emit {text!r}: a pad longer than min-silence would reach into the next segment")
    return replace(rules, column=_column(given.get("label"), manifest.outputs[0]))


def _steps(value: str, step_s: float, name: str) -> int:
    """A duration, or a number of steps, in whole steps."""
    if value.isdecimal():
        return int(value)
    if not step_s:
        raise UsageError(f"{name} is {value!r}: the model's steps have no duration; give a number of steps")
    return round(parse_duration(value, name) / step_s)


def _column(label: str | None, output: OutputSpec) -> int:
    """Which number of a row is the score."""
    if label is None and output.width == 1:
        return 0
    labels = output.labels or tuple(str(index) for index in range(output.width))
    if label not in labels:
        raise UsageError(
            f"--emit segments: the output has {output.width} scores; give label= one of {', '.join(labels)}"
        )
    return labels.index(label)
