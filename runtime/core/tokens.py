"""Text as the tokens of a bundle's vocabulary, and back."""

from __future__ import annotations

import numpy as np

from edge_rnn.contract.errors import RecordError, UsageError
from edge_rnn.contract.signature import GenerationSpec, Manifest


class Tokens:
    """What a bundle that generates reads and writes. ``begin`` is its first token, ``stop`` its last (or ``None``)."""

    def __init__(self, manifest: Manifest) -> None:
        """Raises `UsageError` when the bundle does not generate."""
        if manifest.generation is None:
            raise UsageError(
                f"the bundle {manifest.name!r} does not generate text: its output is no token of its input;"
                " give one of a recipe that does, e.g. edge-rnn train text"
            )
        self.spec: GenerationSpec = manifest.generation
        vocabulary = manifest.inputs[0].vocabulary or ()
        written = manifest.outputs[0].labels or ()
        read = vocabulary if manifest.prompt is None else manifest.prompt.input.vocabulary or ()
        number = {name: index for index, name in enumerate(vocabulary)}
        self._prompts = {name: index for index, name in enumerate(read)}
        self._written = written
        self.fed = np.array([number[name] for name in written], np.int64)
        """By number of the output, the number that the input knows the token by."""
        self.begin = number[self.spec.begin]
        self.stop = written.index(self.spec.stop) if self.spec.stop in written else None

    def encode(self, text: str) -> tuple[int, ...]:
        """The tokens of a prompt. Raises `RecordError` naming what the vocabulary lacks."""
        parts = list(text) if self.spec.unit == "character" else text.split()
        other = None if self.spec.unknown is None else self._prompts.get(self.spec.unknown)
        found = [self._prompts.get(part, other) for part in parts]
        if None in found:
            lacking = parts[found.index(None)]
            raise RecordError(
                f"the prompt holds {lacking!r}, which the model's {len(self._prompts)} {self.spec.unit}s lack;"
                f" they are {_shown(list(self._prompts))}"
            )
        return tuple(token for token in found if token is not None)

    def piece(self, token: int, *, first: bool) -> str:
        """The text that a drawn token adds to a reply."""
        name = self._written[token]
        return name if self.spec.unit == "character" or first else f" {name}"


def _shown(names: list[str]) -> str:
    shown = " ".join(repr(name)[1:-1] if name.strip() else repr(name) for name in names[:60])
    return shown if len(names) <= 60 else f"{shown} ..."
