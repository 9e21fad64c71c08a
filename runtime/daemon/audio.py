"""What stands between a codec and the model for sound, and behind the model for segments: from settings to parts."""

from __future__ import annotations

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import Manifest
from runtime.core.framer import Framer
from runtime.core.resampler import Resampler
from runtime.core.segments import Segments, parse_emit
from runtime.core.sound import Sound

RATES = range(1000, 384001)


def make_sound(manifest: Manifest, input_rate: int | None, emit: str, output_codec: str) -> Sound | None:
    """What goes around the model; ``None``: its rows come as rows and are told as rows. Raises `UsageError`."""
    cutters, segments = make_cutters(manifest, input_rate), make_segments(manifest, emit, output_codec)
    return Sound(cutters, segments) if cutters or segments is not None else None


def make_cutters(manifest: Manifest, input_rate: int | None) -> list[Framer | Resampler]:
    """Samples to windows as the model's framing says, from ``input_rate`` samples a second where it is another."""
    framing = manifest.framing
    if framing is None:
        if input_rate is not None:
            raise UsageError(f"--input-rate goes with a framing, and the model {manifest.name!r} has none")
        return []
    if input_rate is None or input_rate == framing.rate:
        return [Framer(framing)]
    if not framing.rate:
        raise UsageError(
            f"--input-rate {input_rate}: the framing of {manifest.name!r} does not say its rate; import it with rate=N"
        )
    if input_rate not in RATES:
        raise UsageError(f"--input-rate is {input_rate}, expected {RATES[0]} to {RATES[-1]} samples a second")
    return [Resampler(input_rate, framing.rate), Framer(framing)]


def make_segments(manifest: Manifest, emit: str, output_codec: str) -> Segments | None:
    """The policy that tells segments; ``None``: every step's row is told. Raises `UsageError`."""
    rules = parse_emit(emit, manifest)
    if rules is None:
        return None
    if output_codec != "json":
        raise UsageError(f"--emit segments is told in JSON, --output-codec is {output_codec}")
    return Segments(rules, manifest.outputs[0])
