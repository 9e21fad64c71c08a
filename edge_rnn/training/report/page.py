"""The report as a page: headline figures, curves, confusion or residuals, examples, settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np

from edge_rnn.training.history import History
from edge_rnn.training.report.pictures import COLOURS, confusion, curves, forecast, residuals, scores
from edge_rnn.training.report.shown import Example, Forecast, Reply, Scores, Words
from edge_rnn.training.report.style import STYLE

MOST_LABELS = 16
"""With more classes than this the confusions are listed, not drawn."""

LISTED = 12


@dataclass(frozen=True)
class Report:
    """What the page says.

    ``figures`` are headline numbers with a note each; ``said`` and ``truth`` are class numbers
    int64[n], named by ``labels``, or values float64[n] in ``unit``; ``facts`` stand at the end.
    """

    title: str
    purpose: str
    figures: Sequence[tuple[str, str, str]]
    history: History
    said: np.ndarray
    truth: np.ndarray
    labels: tuple[str, ...] = ()
    unit: str = ""
    examples: Sequence[Example] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


def draw_report(report: Report) -> str:
    """The whole page."""
    tiles = "".join(
        f'<div class="tile"><span>{escape(what)}</span><b>{escape(figure)}</b><span>{escape(note)}</span></div>'
        for what, figure, note in report.figures
    )
    facts = "".join(f"<tr><th>{escape(what)}</th><td>{escape(text)}</td></tr>" for what, text in report.facts.items())
    body = (
        f"<h1>{escape(report.title)}</h1><p>{escape(report.purpose)}</p>"
        f'<section class="tiles">{tiles}</section>'
        f"<h2>Learning curves</h2>{_figure(curves(report.history))}"
        f"{_errors(report)}{_examples(report.examples)}"
        f"<h2>Settings and data</h2><table>{facts}</table>"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>{STYLE}</style></head>\n<body><main>{body}</main></body></html>\n"
    )


def _errors(report: Report) -> str:
    """Confusion of classes, or residuals of values."""
    said, truth = report.said, report.truth
    if said.dtype.kind == "f":
        return f"<h2>Residuals on the test part</h2>{_figure(residuals(said, truth, report.unit))}"
    n = len(report.labels)
    right = float((said == truth).mean())
    head = f"<h2>Confusion on the test part</h2><p>{right:.1%} of {len(said):,} answers are right.</p>"
    if n <= MOST_LABELS:
        counts = np.bincount(truth * n + said, minlength=n * n).reshape(n, n)
        return head + _figure(confusion(counts, report.labels))
    wrong = Counter(zip(truth[said != truth].tolist(), said[said != truth].tolist(), strict=True))
    of_truth = np.bincount(truth, minlength=n)
    rows = "".join(
        f"<tr><td><code>{_shown(report.labels[a])}</code></td><td><code>{_shown(report.labels[b])}</code></td>"
        f'<td class="number">{count:,}</td><td class="number">{count / of_truth[a]:.1%}</td></tr>'
        for (a, b), count in wrong.most_common(LISTED)
    )
    return (
        f"{head}<p>The most frequent of {wrong.total():,} mistakes:</p><table><tr><th>truth</th><th>said</th>"
        f'<th class="number">times</th><th class="number">of this truth</th></tr>{rows}</table>'
    )


def _examples(examples: Sequence[Example]) -> str:
    if not examples:
        return ""
    pieces = ["<h2>Examples</h2>"]
    if drawn := [one for one in examples if isinstance(one, Scores)]:
        marks = any(one.marked is not None for one in drawn)
        what = (
            "Red: what is marked in the data."
            if marks
            else "The true class is the thick line; mistakes have a red title."
        )
        pieces += [
            f"<p>Above what the network sees, below the probability of each class after each step. {what}</p>",
            _figure(scores(drawn)),
        ]
    pieces += [_figure(forecast(one)) for one in examples if isinstance(one, Forecast)]
    if texts := [one for one in examples if isinstance(one, Words)]:
        pieces.append(_words(texts))
    if replies := [one for one in examples if isinstance(one, Reply)]:
        pieces.append(_replies(replies))
    return "".join(pieces)


def _words(texts: Sequence[Words]) -> str:
    """Each word in the colour of what was said after it; a mistake is underlined."""
    labels = sorted({label for one in texts for label in (*one.said, *(one.truth or ()))})
    colours = dict(zip(labels, (COLOURS * (1 + len(labels) // len(COLOURS))), strict=False))
    legend = " ".join(f'<span class="word" style="--c:{colours[label]}">{escape(label)}</span>' for label in labels)
    lines = []
    for one in texts:
        truth = one.truth or ("",) * len(one.words)
        words = " ".join(
            f'<span class="word{" wrong" if true and true != said else ""}" style="--c:{colours[said]}"'
            f' title="{escape(said)}{f", truth {escape(true)}" if true else ""}">{escape(word)}</span>'
            for word, said, true in zip(one.words, one.said, truth, strict=True)
        )
        verdict = ""
        if one.label is not None:
            mark = "right" if one.said[-1] == one.label else "wrong"
            verdict = f' <span class="{mark}">{escape(one.said[-1])}, truth {escape(one.label)}</span>'
        lines.append(f"<li>{words}{verdict}</li>")
    return f"<p>The colour is what was said after the word: {legend}. Mistakes are underlined.</p><ol>{''.join(lines)}</ol>"


def _replies(replies: Sequence[Reply]) -> str:
    rows = "".join(
        f"<tr><td><pre>{escape(one.prompt)}</pre></td><td><pre>{escape(one.said)}</pre></td>"
        + (
            ""
            if one.truth is None
            else f'<td class="{"right" if one.said == one.truth else "wrong"}"><pre>{escape(one.truth)}</pre></td>'
        )
        + "</tr>"
        for one in replies
    )
    third = "" if all(one.truth is None for one in replies) else "<th>truth</th>"
    return f"<table><tr><th>prompt</th><th>reply</th>{third}</tr>{rows}</table>"


def _shown(label: str) -> str:
    return escape(repr(label)[1:-1] if label.strip() else repr(label))


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"
