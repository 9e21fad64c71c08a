"""A front end before a module, and a framing beside its input."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from torch import nn

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.framing import Framing
from edge_rnn.contract.front_end import FrontEnd
from edge_rnn.contract.signature import InputSpec
from edge_rnn.models import SequenceModel
from edge_rnn.models.front_end import Heard


def behind(front: FrontEnd, module: nn.Module, specs: Sequence[InputSpec]) -> tuple[nn.Module, tuple[InputSpec, ...]]:
    """The module behind a front end, and what it takes then: windows of samples. Raises `UsageError`."""
    if isinstance(module, SequenceModel):
        raise UsageError("--front-end is for modules of your own; a recipe is trained behind its own (log_mel)")
    if hasattr(module, "step"):
        raise UsageError(
            f"--front-end: {type(module).__name__} has a step of its own; call"
            " edge_rnn.models.front_end.FrontEndModule inside it"
        )
    if len(specs) != 1 or specs[0].dtype != "float32" or specs[0].shape[-1] != front.width:
        told = ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in specs)
        raise UsageError(
            f"--front-end {front.kind} gives {front.width} numbers, the module {type(module).__name__} takes {told};"
            f" expected one float32 input whose last axis is {front.width}"
        )
    spec = msgspec.structs.replace(specs[0], shape=(*specs[0].shape[:-1], front.window), features=None)
    return Heard(front, module).eval(), (spec,)


def check_framing(framing: Framing | None, specs: Sequence[InputSpec]) -> None:
    """Raise `UsageError` where windows are not what the one input takes."""
    if framing is None:
        return
    if len(specs) != 1 or specs[0].dtype != "float32" or specs[0].shape[-1] != framing.width:
        told = ", ".join(f"{spec.name} {spec.dtype}{list(spec.shape)}" for spec in specs)
        raise UsageError(
            f"--framing {framing} makes windows of {framing.width} samples, the module takes {told}; expected one"
            f" float32 input whose last axis is {framing.width} (hop + context), or a --front-end between them"
        )
