"""Does the gradient vanish or explode? Its norm against the number of steps back, for each cell.

Y. Bengio, P. Simard, P. Frasconi, "Learning long-term dependencies with gradient descent is
difficult" (1994): the gradient of the last output with respect to the input k steps before shrinks
or grows by about the same factor a step.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

FLAT = 0.02
"""A factor a step within 1 ± this is called steady: over 50 steps it changes the norm by less than e."""

VANISHED = 1e-3
"""What part of the gradient at the last step still counts as reaching a step."""


FLOOR = 1e-12
"""Where the picture ends."""


@dataclass(frozen=True)
class Diagnosis:
    """``norms[k]`` is the mean norm of the last output's gradient k steps back, divided by that at 0 steps back.

    ``factor`` is by how much it changes a step (the slope of the logarithm), ``reach`` how many
    steps back it first falls below `VANISHED`, or all there are.
    """

    norms: tuple[float, ...]
    factor: float
    reach: int

    @property
    def verdict(self) -> str:
        """``vanishing``, ``exploding`` or ``steady``."""
        if self.norms[-1] < VANISHED or self.factor < 1 - FLAT:
            return "vanishing"
        return "exploding" if self.factor > 1 + FLAT else "steady"

    def __str__(self) -> str:
        steps = len(self.norms) - 1
        told = f"{self.verdict}: the gradient changes by a factor {self.factor:.3g} a step back"
        if self.verdict == "vanishing":
            where = (
                f"below a thousandth after {self.reach} steps" if self.reach <= steps else f"seen over {steps} steps"
            )
            return f"{told}, {where}; what lies further back is not learnt"
        if self.verdict == "exploding":
            return f"{told}, {self.norms[-1]:.3g} times as large {steps} steps back; clip it, or lower the weights"
        return f"{told}; {steps} steps back it is {self.norms[-1]:.3g} of what it was"


def diagnose(model: nn.Module, x: Tensor, *, steps: int = 100) -> Diagnosis:
    """Measure on ``x: float32[time, batch, feature]`` (or the tokens of a model with an embedding), its first ``steps`` steps.

    The gradient is that of the sum of the last output, seen where the first recurrent layer
    takes its input. Weights and their gradients are left as they are.
    """
    seen: list[Tensor] = []
    layers = model.layers
    assert isinstance(layers, nn.ModuleList)

    def watch(_: nn.Module, given: tuple[object, ...]) -> tuple[object, ...]:
        first = given[0]
        assert isinstance(first, Tensor)
        seen.append(first.detach().requires_grad_())
        return (seen[0], *given[1:])

    was_training = model.training
    hook = layers[0].register_forward_pre_hook(watch)
    try:
        y, _ = model.eval()(x[:steps])
    finally:
        hook.remove()
        model.train(was_training)
    (gradient,) = torch.autograd.grad(y[-1].sum(), seen)
    return judge(gradient.norm(dim=-1).mean(dim=-1).flip(0).double().numpy())


def judge(norms: np.ndarray) -> Diagnosis:
    """``norms[k]`` as measured k steps back. One that is not finite counts as the largest number."""
    norms = np.where(np.isfinite(norms), norms, np.finfo(np.float64).max)
    relative = norms / max(norms[0], np.finfo(np.float64).tiny)
    gone = np.flatnonzero(relative < VANISHED)
    reach = int(gone[0]) if gone.size else len(norms)
    seen = relative[: max(2, np.flatnonzero(relative > 1e-30).size)]
    logs = np.log(np.maximum(seen, 1e-300))
    factor = float(np.exp(np.polyfit(np.arange(len(logs)), logs, 1)[0])) if len(logs) > 1 else 1.0
    return Diagnosis(tuple(float(value) for value in relative), factor, reach)


def draw_diagnoses(found: Mapping[str, Diagnosis], title: str) -> bytes:
    """The norms of all cells over the steps back, logarithmic, as the bytes of a PNG file."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, diagnosis in found.items():
        norms = np.maximum(diagnosis.norms, FLOOR / 10)
        axes.plot(range(len(norms)), norms, label=f"{name}: {diagnosis.verdict}, {diagnosis.factor:.3g} a step")
    axes.axhline(VANISHED, color="grey", linestyle=":", linewidth=1)
    axes.set_yscale("log")
    axes.set(xlabel="steps back from the last output", ylabel="gradient's norm, relative", title=title)
    axes.set_ylim(bottom=FLOOR)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
