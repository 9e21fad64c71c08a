"""Codecs by the names that the command line knows."""

from __future__ import annotations

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import Manifest
from runtime.codecs.protocol import Decoder, Encoder

DECODERS = ("json", "f32", "pcm16")
ENCODERS = ("json", "f32")


def make_decoder(name: str, manifest: Manifest) -> Decoder:
    """A decoder for the model's inputs. Raises `UsageError` for an unknown name or a type it cannot hold."""
    dtypes = {spec.dtype for spec in manifest.inputs}
    width = manifest.width if manifest.framing is None else 1
    if name == "pcm16":
        from runtime.codecs.pcm16 import Pcm16Decoder

        if width != 1 or dtypes != {"float32"}:
            raise UsageError(
                f"codec pcm16 gives samples, the model {manifest.name!r} takes {manifest.width} numbers a step and no framing"
                " says how; import or export it with --framing hop=N,context=N,rate=N"
            )
        return Pcm16Decoder()
    if name == "json" and manifest.framing is not None:
        raise UsageError(f"the model {manifest.name!r} takes samples ({manifest.framing}): use --codec pcm16, or f32")
    if name == "json":
        from runtime.codecs.json import JsonDecoder

        return JsonDecoder(manifest.width, manifest.feature_names, "float32" if dtypes == {"float32"} else "float64")
    if name == "f32":
        from runtime.codecs.f32 import F32Decoder

        return F32Decoder(width)
    raise UsageError(f"codec {name!r} is unknown, expected one of {', '.join(DECODERS)}")


def make_encoder(name: str, manifest: Manifest) -> Encoder:
    """An encoder for the model's outputs. Raises `UsageError` for an unknown name."""
    if name == "json":
        from runtime.codecs.json import JsonEncoder

        return JsonEncoder(manifest.outputs)
    if name == "f32":
        from runtime.codecs.f32 import F32Encoder

        return F32Encoder()
    raise UsageError(f"output codec {name!r} is unknown, expected one of {', '.join(ENCODERS)}")
