"""The activation functions that ONNX's recurrent operators may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exporters.precision.quantise import Additions

PLAIN = ("Relu", "Sigmoid", "Softplus", "Softsign", "Tanh")
"""Those without parameters."""

PARAMETERS: dict[str, dict[str, float | None]] = {
    "Affine": {"alpha": None, "beta": None},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "LeakyRelu": {"alpha": 0.01},
    "ScaledTanh": {"alpha": None, "beta": None},
    "ThresholdedRelu": {"alpha": None},
}
"""Those with parameters, and what these are where the node does not say.

``None``: it has to. ONNX gives no number, or ONNX Runtime takes another one than ONNX gives.
"""

_NAMES = {name.lower(): name for name in (*PLAIN, *PARAMETERS)}


@dataclass(frozen=True)
class Activation:
    """One function: its name as in ONNX's list and its parameters."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    def emit(self, to: Additions, value: str, end: str) -> str:
        """The function of ``value``, under the name that ends with ``end``."""
        if self.name == "Affine":
            return to.op(
                "Add",
                [to.op("Mul", [value, self._number(to, "alpha")], f"{end}.scaled"), self._number(to, "beta")],
                end,
            )
        if self.name == "ScaledTanh":
            inner = to.op("Tanh", [to.op("Mul", [value, self._number(to, "beta")], f"{end}.scaled")], f"{end}.tanh")
            return to.op("Mul", [inner, self._number(to, "alpha")], end)
        return to.op(self.name, [value], end, **{name: getattr(self, name) for name in PARAMETERS.get(self.name, ())})

    def _number(self, to: Additions, which: str) -> str:
        number = np.float32(getattr(self, which))
        return to.weight(np.asarray(number), f"{self.name}.{which}.{number}")


def activations_of(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Activation]:
    """The functions of a node. Each that has a parameter takes the next number of its list, while there is one.

    Raises `ValueError` saying which function is unknown or lacks a parameter.
    """
    left = {"alpha": list(alphas), "beta": list(betas)}
    found = []
    for given in names:
        name = _NAMES.get(given.lower())
        if name is None:
            raise ValueError(f"its activation {given!r} is none of {', '.join(sorted(_NAMES.values()))}")
        values: dict[str, float] = {}
        for which, default in PARAMETERS.get(name, {}).items():
            value = left[which].pop(0) if left[which] else default
            if value is None:
                raise ValueError(f"its activation {name} has no {which}")
            values[which] = value
        found.append(Activation(name, **values))
    return found
