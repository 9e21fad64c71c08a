"""Framing: how a stream of samples is cut into the windows that a model takes, ``hop=512,context=64,rate=16000``.

Window ``k`` holds the last ``context`` samples before its hop and the hop itself: samples
``[k * hop - context, (k + 1) * hop)`` of the stream; before its beginning all are zero.
"""

from __future__ import annotations

import msgspec

from edge_rnn.contract.errors import UsageError

EXAMPLE = "hop=512,context=64,rate=16000"


class Framing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``hop`` new samples a window, ``context`` samples kept from before, ``rate`` samples a second (0: not said)."""

    hop: int
    context: int = 0
    rate: int = 0

    @property
    def width(self) -> int:
        """Samples of one window."""
        return self.hop + self.context

    def __str__(self) -> str:
        rate = f",rate={self.rate}" if self.rate else ""
        return f"hop={self.hop},context={self.context}{rate}"


def parse_framing(text: str) -> Framing:
    """Read ``hop=512,context=64,rate=16000``; only the hop must be there. Raises `UsageError`."""

    def refuse(what: str) -> UsageError:
        return UsageError(f"--framing {text!r}: {what}; give e.g. {EXAMPLE}")

    found: dict[str, int] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals or name not in ("hop", "context", "rate"):
            raise refuse(f"{part!r} is none of hop=N, context=N, rate=N")
        if name in found:
            raise refuse(f"{name} stands twice")
        if not number.isdecimal():
            raise refuse(f"{name} is {number!r}, expected a whole number")
        found[name] = int(number)
    if found.get("hop", 0) < 1:
        raise refuse("the hop is missing or 0")
    if found.get("context", 0) > 2**20 or found["hop"] > 2**20:
        raise refuse(f"more than {2**20} samples a window")
    return Framing(**found)
