"""Learning curves as a picture."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edge_rnn.training.history import History


def draw_curves(history: History, title: str) -> bytes:
    """Both losses over the epochs with the kept epoch marked, as the bytes of a PNG file."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    epochs = range(1, len(history.train) + 1)
    axes.plot(epochs, history.train, label="train")
    axes.plot(epochs, history.validation, label="validation")
    axes.axvline(history.best_epoch, color="grey", linestyle=":", label=f"kept: epoch {history.best_epoch}")
    positive = [value for value in (*history.train, *history.validation) if value > 0]
    if positive and max(positive) > 10 * min(positive):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
