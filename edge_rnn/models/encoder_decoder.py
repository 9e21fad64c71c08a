"""An encoder's last state handed to a decoder: sequence in, another sequence out.

I. Sutskever, O. Vinyals, Q. Le, "Sequence to sequence learning with neural networks" (2014). Both
have the same cells and widths, so the encoder's states are the decoder's first ones, by name. As a
stream the encoder is the bundle's `prompt.onnx` and the decoder its `step.onnx`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_rnn.models.sequence import SequenceModel, State


class EncoderDecoder(SequenceModel):
    """A `SequenceModel`, the decoder, whose first state `prompt` makes.

    ``prompt_vocabulary`` names the tokens that the encoder takes.
    """

    def __init__(
        self,
        *,
        prompt_embedding: nn.Embedding,
        prompt_layers: list[nn.Module],
        prompt_vocabulary: tuple[str, ...],
        **decoder: Any,
    ) -> None:
        """``decoder`` is what `SequenceModel` takes, with an embedding; the layers must be alike."""
        super().__init__(**decoder)
        self.prompt_embedding = prompt_embedding
        self.prompt_layers = nn.ModuleList(prompt_layers)
        self.prompt_vocabulary = prompt_vocabulary

    def prompt(self, tokens: Tensor, lengths: Tensor | None = None, state: State | None = None) -> State:
        """The state after ``tokens: int64[time, batch]``, each sequence up to its own of ``lengths: int64[batch]``.

        ``state`` is what the stream had before (fresh if left out): turns of a dialogue build on each other.
        """
        state = self.initial_state(tokens.shape[1]) if state is None else state
        read = torch.as_tensor(self.dropout(self.prompt_embedding(tokens)))
        return self._run_layers(self.prompt_layers, read, state, lengths)[1]
