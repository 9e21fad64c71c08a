"""h and c of an LSTM have one shape: a state that goes in as one of them and comes back as the other is told here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from edge_rnn.contract.errors import UsageError


class Ports:
    """What went into the LSTMs of a module as h and c in one run, and what came out. A context manager around the run."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._taken: list[tuple[Tensor, str, str]] = []
        self._given: list[tuple[Tensor, str, str]] = []

    def __enter__(self) -> Ports:
        self._hooks = [
            child.register_forward_hook(self._keeper(path or type(child).__name__), with_kwargs=True)
            for path, child in self._module.named_modules()
            if isinstance(child, (nn.LSTM, nn.LSTMCell))
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keeper(self, path: str) -> Any:
        def keep(child: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], returned: Any) -> None:
            before = args[1] if len(args) > 1 else kwargs.get("hx")
            after = returned[1] if isinstance(child, nn.LSTM) else returned
            if before is not None:
                self._taken += [(tensor, path, letter) for tensor, letter in zip(before, "hc", strict=True)]
            self._given += [(tensor, path, letter) for tensor, letter in zip(after, "hc", strict=True)]

        return keep

    def check(self, states: Mapping[str, int], first: Mapping[str, Any], returned: Any) -> None:
        """Raise `UsageError` where a state of ``states`` went in as h and its new value came out as c, or otherwise."""
        if not isinstance(returned, (tuple, list)):
            return
        for name, index in states.items():
            went, came = _port(self._taken, first[name]), _port(self._given, returned[index])
            if went is None or came is None or went[0] != came[0] or went[1] == came[1]:
                continue
            right = [at for at, value in enumerate(returned) if _port(self._given, value) == went]
            raise UsageError(
                f"--state {name}={index} is swapped: {name} is the {went[1]} of the submodule {went[0]!r}, result {index} its"
                f" new {came[1]}{f'; give --state {name}={right[0]}' if right else ''}"
            )


def _port(kept: list[tuple[Tensor, str, str]], value: object) -> tuple[str, str] | None:
    """The submodule, and ``h`` or ``c``."""
    return next(((path, letter) for tensor, path, letter in kept if tensor is value), None)
