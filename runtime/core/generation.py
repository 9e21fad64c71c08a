"""Prompts in, tokens out: many streams at once, each continuing its own state.

Pure but for the states that the engine holds: no clock, no I/O. What a stream's reply still needs —
its place, the count of its random numbers, its prompts in wait — is a value (`Dialogue`) that goes
into a snapshot beside the states; restored, it says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import msgspec
import numpy as np

from edge_rnn.contract.errors import RecordError
from runtime.core.philox import uniforms
from runtime.core.sampling import LARGEST_COUNT, Sampling, choose
from runtime.core.scheduler import Limits, plan
from runtime.core.tokens import Tokens
from runtime.engines.protocol import Engine


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prompt and how to reply: at most ``tokens`` tokens, ended early by any text of ``stop``, which is not given."""

    prompt: str
    sampling: Sampling = Sampling()
    tokens: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_COUNT)] = 200
    stop: tuple[str, ...] = ()


class Waiting(msgspec.Struct, frozen=True, array_like=True):
    """A prompt in a stream's queue, and the offset and time of the record that it came in (-1: in none)."""

    request: Request
    offset: int = -1
    timestamp: int = -1


class Dialogue(msgspec.Struct, frozen=True, array_like=True):
    """A stream's place in what it says.

    ``stream`` and ``drawn`` (tokens over all its replies) count its random numbers. ``pending``
    holds tokens that its state has not seen. ``held`` is text that may be the beginning of a stop.
    ``said`` counts the tokens of the reply in progress, to the first of ``queue``.
    """

    stream: int
    drawn: int = 0
    pending: tuple[int, ...] = ()
    held: str = ""
    said: int = 0
    started: bool = False
    queue: tuple[Waiting, ...] = ()


class Piece(msgspec.Struct, frozen=True):
    """What a reply adds: ``text``, maybe empty at its end, which has a ``reason``: stop, length, error or ended.

    ``offset`` and ``timestamp`` are those of its prompt.
    """

    slot: int
    text: str
    reason: str | None = None
    offset: int = -1
    timestamp: int = -1


class Generator:
    """Replies to the prompts of many streams, a token of each in every `advance`."""

    def __init__(
        self, engine: Engine, tokens: Tokens, *, prompt_engine: Engine | None = None, limits: Limits | None = None
    ) -> None:
        """``engine`` holds the streams' states; ``prompt_engine`` runs the prompt graph, where there is one."""
        self._engine = engine
        self._tokens = tokens
        self._prompts = prompt_engine
        self._limits = limits or Limits()
        self._dialogues: dict[int, Dialogue] = {}
        self._busy: dict[int, None] = {}  # slots, those that wait longest first

    def submit(self, slot: int, stream: int, request: Request, offset: int = -1, timestamp: int = -1) -> None:
        """Queue a prompt for the stream in ``slot``, whose number (see `stream_number`) draws its tokens.

        Raises `RecordError` when the vocabulary lacks part of it.
        """
        check_request(self._tokens, request)
        known = self._dialogues.get(slot) or Dialogue(stream)
        queue = (*known.queue, Waiting(request, offset, timestamp))
        self._dialogues[slot] = msgspec.structs.replace(known, queue=queue)
        self._busy[slot] = None

    def check(self, request: Request) -> None:
        """Raise `RecordError` where `submit` would."""
        check_request(self._tokens, request)

    def waiting(self, slot: int) -> int:
        """How many prompts the stream has, that of the reply in progress included."""
        known = self._dialogues.get(slot)
        return 0 if known is None else len(known.queue)

    def save(self, slot: int) -> bytes:
        """The stream's dialogue as bytes, for its snapshot; empty if it has none."""
        known = self._dialogues.get(slot)
        return b"" if known is None else msgspec.msgpack.encode(known)

    def load(self, slot: int, data: bytes) -> None:
        """The inverse of `save`; the engine's states are restored by the caller."""
        self.forget(slot)
        if data:
            self._dialogues[slot] = msgspec.msgpack.decode(data, type=Dialogue)
            if self._dialogues[slot].queue:
                self._busy[slot] = None

    def forget(self, slot: int) -> None:
        """The stream is no longer here."""
        self._dialogues.pop(slot, None)
        self._busy.pop(slot, None)

    def end(self, slot: int) -> list[Piece]:
        """The stream ended: the last piece of each reply that it still owed."""
        known = self._dialogues.get(slot)
        self.forget(slot)
        waiting = () if known is None else known.queue
        return [Piece(slot, "", "ended", one.offset, one.timestamp) for one in waiting]

    @property
    def busy(self) -> list[int]:
        """Slots with a reply in progress or a prompt in wait, those that wait longest first."""
        return list(self._busy)

    def advance(self, slots: Sequence[int] | None = None, most: int = 256) -> list[Piece]:
        """Draw the next token of up to ``most`` busy streams (of these ``slots``), those that wait longest first.

        Raises `EngineError`; the streams concerned are then undefined and must be restored.
        """
        slots = (self.busy if slots is None else slots)[:most]
        if not slots:
            return []
        for slot in slots:  # to the end of the line
            del self._busy[slot]
            self._busy[slot] = None
        self._begin([slot for slot in slots if not self._dialogues[slot].started])
        dialogues = [self._dialogues[slot] for slot in slots]
        logits, good = self._feed(self._engine, slots, [dialogue.pending for dialogue in dialogues])
        samplings = [dialogue.queue[0].request.sampling for dialogue in dialogues]
        columns = ((s.seed, d.stream, d.drawn) for s, d in zip(samplings, dialogues, strict=True))
        draws = uniforms(*np.array(list(columns), np.uint64).T)
        chosen = choose(logits, samplings, draws).tolist()
        pieces = []
        for slot, dialogue, token, fine in zip(slots, dialogues, chosen, good.tolist(), strict=True):
            if fine:
                self._dialogues[slot], piece = self._say(slot, dialogue, token)
            else:
                asked, rest = dialogue.queue[0], dialogue.queue[1:]
                piece = Piece(slot, dialogue.held, "error", asked.offset, asked.timestamp)
                self._dialogues[slot] = Dialogue(dialogue.stream, dialogue.drawn, queue=rest)
            if piece.reason and not self._dialogues[slot].queue:
                del self._busy[slot]
            if piece.text or piece.reason:
                pieces.append(piece)
        return pieces

    def _begin(self, slots: Sequence[int]) -> None:
        """Take the first prompt of these streams' queues: to what is pending, or through the prompt graph."""
        if not slots:
            return
        spec, begin = self._tokens.spec, self._tokens.begin
        prompts = [self._tokens.encode(self._dialogues[slot].queue[0].request.prompt) for slot in slots]
        if spec.turns == "fresh":
            self._engine.reset(np.asarray(slots, np.int64))
        if self._prompts is not None:
            self._encode(slots, prompts)
        for slot, prompt in zip(slots, prompts, strict=True):
            known = self._dialogues[slot]
            before = known.pending if spec.turns == "continue" and known.pending else (begin,)
            pending = (*before, *prompt) if self._prompts is None else (begin,)
            self._dialogues[slot] = msgspec.structs.replace(known, pending=pending, started=True)

    def _encode(self, slots: Sequence[int], prompts: Sequence[tuple[int, ...]]) -> None:
        """The prompt graph takes the states of these streams on through their prompts."""
        assert self._prompts is not None
        taken = [(slot, prompt) for slot, prompt in zip(slots, prompts, strict=True) if prompt]
        if not taken:
            return
        rows = np.array([slot for slot, _ in taken], np.int64)
        self._prompts.grow(int(rows.max()) + 1)
        self._prompts.write(rows, self._engine.read(rows))
        self._feed(self._prompts, rows.tolist(), [prompt for _, prompt in taken])
        self._engine.write(rows, self._prompts.read(rows))

    def _feed(
        self, engine: Engine, slots: Sequence[int], tokens: Sequence[tuple[int, ...]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Step each stream through its tokens: the outputs after its last, ``[batch, width]``, and which are good."""
        lengths = np.array([len(part) for part in tokens], np.int64)
        ends = np.cumsum(lengths)
        flat = np.array([token for part in tokens for token in part], np.int64)
        specs = engine.manifest.outputs
        last = np.zeros((len(slots), specs[0].width if specs else 0), np.float32)
        good = np.ones(len(slots), bool)
        limits = self._limits if engine.manifest.has_time else replace(self._limits, chunk=1)
        order = {slot: row for row, slot in enumerate(slots)}
        spec = engine.manifest.inputs[0]
        for call in plan(np.asarray(slots, np.int64), ends - lengths, lengths, limits):
            outputs, fine = engine.run(call.slots, [flat[call.rows].reshape(*call.rows.shape, *spec.row_shape)])
            rows = [order[slot] for slot in call.slots.tolist()]
            good[rows] &= fine
            if outputs:
                last[rows] = outputs[0][-1].reshape(len(rows), -1)
        return np.where(good[:, None], last, 0), good

    def _say(self, slot: int, dialogue: Dialogue, token: int) -> tuple[Dialogue, Piece]:
        """A token was drawn: what is given of it, and whether the reply ends."""
        asked = dialogue.queue[0]
        request, origin = asked.request, (asked.offset, asked.timestamp)
        said, drawn = dialogue.said + 1, dialogue.drawn + 1
        fed = (int(self._tokens.fed[token]),)
        ends = token == self._tokens.stop
        held = dialogue.held + ("" if ends else self._tokens.piece(token, first=dialogue.said == 0))
        found = [held.index(stop) for stop in request.stop if stop in held]
        if ends or found:
            piece = Piece(slot, held[: min(found, default=len(held))], "stop", *origin)
        elif said == request.tokens:
            piece = Piece(slot, held, "length", *origin)
        else:
            keep = max((_overlap(held, stop) for stop in request.stop), default=0)
            piece = Piece(slot, held[: len(held) - keep], None, *origin)
            kept = held[len(held) - keep :]
            return msgspec.structs.replace(dialogue, drawn=drawn, pending=fed, held=kept, said=said), piece
        return Dialogue(dialogue.stream, drawn, fed, queue=dialogue.queue[1:]), piece


def check_request(tokens: Tokens, request: Request) -> None:
    """Raise `RecordError` when the vocabulary lacks part of the prompt or a stop is empty."""
    tokens.encode(request.prompt)
    if "" in request.stop:
        raise RecordError("a stop is empty, expected text that ends a reply")


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` are the beginning of ``stop``."""
    return next((size for size in range(min(len(text), len(stop)), 0, -1) if stop.startswith(text[-size:])), 0)
