"""The report's pictures as SVG: confusion, residuals, and streams with what was said of them."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edge_rnn.training.history import History
from edge_rnn.training.report.shown import Forecast, Scores

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a7a00", "#5b3a8e", "#8c510a", "#444444")
"""The first six are of Okabe and Ito's palette (2008), which colour-blind readers can tell apart."""

FAINT = "#c8ced6"


def curves(history: History) -> str:
    """Losses over the epochs, and the gradient's norm."""
    figure = _figure(9.2, 3.1)
    loss, gradient = figure.subplots(1, 2, width_ratios=(3, 2))
    epochs = range(1, len(history.train) + 1)
    dot = "o" if len(history.train) < 5 else ""
    loss.plot(epochs, history.train, dot + "-", color=COLOURS[0], label="training")
    loss.plot(epochs, history.validation, dot + "-", color=COLOURS[1], label="validation")
    loss.axvline(history.best_epoch, color="grey", linestyle=":", label=f"kept: epoch {history.best_epoch}")
    positive = [value for value in (*history.train, *history.validation) if value > 0]
    if positive and max(positive) > 10 * min(positive):
        loss.set_yscale("log")
    loss.set(xlabel="epoch", ylabel="loss")
    loss.legend(frameon=False)
    gradient.plot(epochs, history.gradient, dot + "-", color=COLOURS[2])
    gradient.set(xlabel="epoch", ylabel="mean norm of the gradient", ylim=(0, None))
    for axes in (loss, gradient):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return _svg(figure)


def confusion(counts: np.ndarray, labels: Sequence[str]) -> str:
    """``counts: int64[truth, said]`` as a table of shares of each row."""
    n = len(labels)
    figure = _figure(min(9.2, 2.6 + 0.55 * n), 1.4 + 0.42 * n)
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(n, n):
        if counts[row, column]:
            dark = "white" if shares[row, column] > 0.55 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", color=dark, fontsize=9)
    turned = 45 if max(map(len, labels)) > 4 else 0
    axes.set_xticks(range(n), labels, rotation=turned, ha="right" if turned else "center")
    axes.set_yticks(range(n), labels)
    axes.set(xlabel="said", ylabel="truth")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return _svg(figure)


def residuals(said: np.ndarray, truth: np.ndarray, unit: str) -> str:
    """Said against truth, and the residuals (said less truth) as a histogram and against what was said."""
    figure = _figure(9.2, 3.2)
    points, over, histogram = figure.subplots(1, 3)
    error = said - truth
    size = {"s": 9, "alpha": 0.5, "linewidths": 0, "color": COLOURS[0]}
    ends = (float(min(said.min(), truth.min())), float(max(said.max(), truth.max())))
    points.scatter(truth, said, **size)
    points.plot(ends, ends, color="grey", linestyle=":")
    points.set(xlabel=f"truth, {unit}", ylabel=f"said, {unit}")
    over.scatter(said, error, **size)
    over.axhline(0, color="grey", linestyle=":")
    over.set(xlabel=f"said, {unit}", ylabel=f"residual, {unit}")
    middle = float(error.mean())
    reach = max(float(np.abs(error - middle).max()), 1e-6 * (abs(middle) + 1))
    histogram.hist(error, bins=30, range=(middle - reach, middle + reach), color=COLOURS[0])
    histogram.axvline(middle, color=COLOURS[1], label=f"mean {middle:.2g}")
    histogram.set(xlabel=f"residual, {unit}", ylabel="steps")
    histogram.legend(frameon=False, fontsize=8)
    return _svg(figure)


def forecast(example: Forecast) -> str:
    """Both lines over time."""
    figure = _figure(9.2, 2.6)
    axes = figure.subplots()
    axes.plot(example.truth, color="#1b1f24", linewidth=1, label="truth")
    axes.plot(example.said, color=COLOURS[1], linewidth=1.4, label="said a step before")
    axes.set(xlabel="step", ylabel=example.unit, title=example.name)
    axes.legend(frameon=False, loc="upper right", ncols=2)
    axes.margins(x=0)
    return _svg(figure)


def scores(examples: Sequence[Scores]) -> str:
    """Each stream's input above the probability of each class after each step; the true class is thick."""
    columns = 1 if any(one.marked is not None for one in examples) else min(3, len(examples))
    rows = -(-len(examples) // columns)
    figure = _figure(9.2, 2.7 * rows + 0.4)
    outer = figure.add_gridspec(rows, columns)
    for i, one in enumerate(examples):
        inner = outer[i // columns, i % columns].subgridspec(2, 1, height_ratios=(2, 3), hspace=0.05)
        seen = figure.add_subplot(inner[0])
        said = figure.add_subplot(inner[1], sharex=seen)
        _seen(seen, one)
        _said(said, one)
        verdict = "" if one.truth is None else f": {one.said}" + ("" if one.right else f", truth {one.truth}")
        look = "#1b1f24" if one.truth is None or one.right else "#c62828"
        seen.set_title(f"{one.name}{verdict}", fontsize=9, color=look, loc="left")
        seen.tick_params(labelbottom=False, bottom=False, left=False, labelleft=False)
        said.set_xlabel("step", fontsize=8)
        said.tick_params(labelsize=8)
    lines, names = figure.axes[1].get_legend_handles_labels()
    if len(examples[0].labels) <= len(COLOURS):
        figure.legend(lines, names, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return _svg(figure)


def _seen(axes: Axes, one: Scores) -> None:
    if one.rows.shape[1] <= 3:
        axes.plot(one.rows, linewidth=0.8, color="#1b1f24")
    else:
        axes.imshow(one.rows.T, aspect="auto", cmap="Greys", interpolation="nearest", origin="lower")
    _mark(axes, one)


def _said(axes: Axes, one: Scores) -> None:
    only = len(one.labels) == 2 and one.marked is not None
    for number, label in enumerate(one.labels):
        if only and number == 0:
            continue
        true = label == one.truth
        colour = COLOURS[number] if len(one.labels) <= len(COLOURS) else (COLOURS[0] if true else FAINT)
        axes.plot(one.probabilities[:, number], color=colour, linewidth=2.4 if true else 1, label=label)
    axes.set_ylim(-0.03, 1.03)
    _mark(axes, one)


def _mark(axes: Axes, one: Scores) -> None:
    if one.marked is not None:
        edges = np.flatnonzero(np.diff(np.r_[0, one.marked.astype(int), 0]))
        for begin, end in edges.reshape(-1, 2):
            axes.axvspan(begin, end, color="#c62828", alpha=0.2, linewidth=0)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: Figure) -> str:
    """The ``<svg>`` element, the same text for the same picture."""
    picture = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "edge-rnn", "svg.fonttype": "none", "font.family": "DejaVu Sans"}):
        figure.savefig(picture, format="svg", transparent=False, metadata={"Date": None, "Creator": None})
    whole = picture.getvalue()
    return whole[whole.index("<svg") :]
