"""The report page: what it shows is what it was given."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from edge_rnn.training import History
from edge_rnn.training.report.page import Report, draw_report
from edge_rnn.training.report.shown import Forecast, Reply, Scores, Words

HISTORY = History([1.0, 0.5, 0.2], [1.1, 0.6, 0.7], 2, [0.9, 0.5, 0.4])


class Strict(HTMLParser):
    """Checks that every element is closed, and collects the text outside pictures and styles."""

    VOID = ("meta", "br", "link", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert not [value for name, value in attrs if name in ("src", "href") and not value.startswith(("#", "data:"))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def read(report: Report) -> str:
    """The page's text, its elements checked."""
    parser = Strict()
    parser.feed(draw_report(report))
    assert parser.open == []
    return " ".join(" ".join(parser.text).split())


def report(said, truth, **more) -> Report:
    figures = [("accuracy", "0.750", "on the <test> part")]
    return Report("a & b", "Tell things apart.", figures, HISTORY, np.array(said), np.array(truth), **more)


def test_report_when_of_classes_then_counts_each_pair():
    text = read(report([0, 1, 1, 1, 2, 2, 2, 0], [0, 0, 1, 1, 2, 2, 2, 2], labels=("walk", "run", "rest")))
    assert "75.0% of 8 answers are right" in text
    assert "kept: epoch 2" in text
    assert "on the <test> part" in text
    svg = draw_report(report([0, 1, 1], [0, 0, 1], labels=("walk", "run"))).split("Confusion")[1]
    assert re.findall(r">(\d+)</text>", svg) == ["1", "1", "1"]


def test_report_when_there_are_many_classes_then_lists_the_most_frequent_mistakes():
    labels = tuple("abcdefghijklmnopq\n")
    text = read(report([1] * 5 + [2] * 3 + [0] * 12, [0] * 5 + [17] * 3 + [0] * 12, labels=labels))
    assert "The most frequent of 8 mistakes" in text
    assert "a b 5 29.4%" in text
    assert r"'\n' c 3 100.0%" in text


def test_report_when_of_values_then_draws_residuals():
    truth = np.linspace(0, 10, 50)
    text = read(report(truth + 0.25, truth, unit="°C"))
    assert "Residuals on the test part" in text
    assert "mean 0.25" in text
    assert "residual, °C" in text


def test_report_when_it_has_examples_then_shows_each_kind():
    rows, probabilities = np.zeros((5, 2), np.float32), np.tile(np.float32([0.2, 0.8]), (5, 1))
    marked = np.array([False, True, True, False, False])
    examples = [
        Scores("watch-1", rows, probabilities, ("walk", "run"), "walk"),
        Scores("watch-2", np.zeros((5, 9), np.float32), probabilities, ("walk", "run"), "run"),
        Forecast("a year", np.arange(4.0), np.arange(4.0), "mm"),
        Words(("Anna", "left", "Oslo"), ("person", "other", "other"), ("person", "other", "place")),
        Reply("1 May", "1 mai", "1er mai"),
    ]
    text = read(report([0, 1], [0, 1], labels=("walk", "run"), examples=examples))
    for expected in ("watch-1: run, truth walk", "watch-2: run", "a year", "1 May 1 mai 1er mai"):
        assert expected in text
    page = draw_report(report([0, 1], [0, 1], labels=("walk", "run"), examples=examples))
    assert re.findall(r'class="word wrong"[^>]*title="other, truth place">Oslo<', page)
    one = Scores("heart", rows, probabilities, ("normal", "anomaly"), marked=marked)
    assert "what is marked in the data" in read(report([0, 1], [0, 1], labels=("normal", "anomaly"), examples=[one]))


@pytest.mark.parametrize("said", [[0, 1], [0.5, 1.5]])
def test_report_when_drawn_twice_then_is_the_same_bytes(said):
    made = report(said, said[::-1], labels=("a", "b"))
    assert draw_report(made) == draw_report(made)
