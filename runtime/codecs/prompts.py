"""Prompt records in, token records out, as JSON.

In: the prompt as a string, or an object such as ``{"prompt": "To be", "temperature": 0.7, "top_k": 0,
"top_p": 0.9, "seed": 3, "tokens": 200, "stop": ["."]}``, of which only ``prompt`` must be there. Out:
``{"prompt": 17, "text": "or", "final": false}``, ``prompt`` being the offset of the prompt's record;
the last of a reply has ``"final": true`` and its ``reason``: stop, length, error, or ended (the
stream's end came first).
"""

from __future__ import annotations

import msgspec

from edge_rnn.contract.errors import RecordError
from runtime.core.generation import Piece, Request
from runtime.core.sampling import Sampling

SAMPLING = Sampling.__struct_fields__


def decode_prompt(value: bytes) -> Request:
    """Read a record's value. Raises `RecordError` naming the field that is wrong."""
    try:
        given = msgspec.json.decode(value)
        if isinstance(given, str):
            return Request(prompt=given)
        if not isinstance(given, dict):
            raise RecordError(f"the prompt is {type(given).__name__}, expected a string or an object with prompt")
        sampling = {name: given.pop(name) for name in SAMPLING if name in given}
        return msgspec.convert({**given, "sampling": sampling}, Request)
    except msgspec.MsgspecError as error:
        raise RecordError(f"the prompt cannot be read: {error}") from error


def encode_piece(piece: Piece) -> bytes:
    """A token record's value."""
    line: dict[str, object] = {"prompt": piece.offset, "text": piece.text, "final": piece.reason is not None}
    return msgspec.json.encode({**line, "reason": piece.reason} if piece.reason else line)
