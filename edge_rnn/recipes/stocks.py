"""What will a share cost next month? Reported beside persistence, whatever comes out.

Data: monthly closes of five companies' shares, 2000 to March 2010, as shipped inside the package
vega_datasets (``stocks.csv``). The model sees the change of the logarithm of the price, each
company a sequence of its own, and says the next month's. Split by time: to 2005 to train, 2006 and
2007 for early stopping, 2008 on to test.

Prices of shares are close to a random walk: nothing here promises more than persistence, and no
gate asks for it.
"""

from __future__ import annotations

import csv
from functools import cache

import numpy as np
import torch

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.models import SequenceModel
from edge_rnn.models.regression import squared_error
from edge_rnn.recipes.answers import Answers, at_every_step
from edge_rnn.recipes.packaged import packaged_file
from edge_rnn.recipes.padding import side_by_side
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.training import Sequences, Settings
from edge_rnn.training.loop import Loss
from edge_rnn.training.report.shown import Example, Forecast

FEATURES = ("change",)
LABELS = ("change_next",)
VALIDATION_YEAR, TEST_YEAR = 2006, 2008


@cache
def closes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each company the year of each month, ``int64[month]``, and the close's natural logarithm, ``float64[month]``.

    Raises `EdgeRnnError` when the file reads otherwise.
    """
    path = packaged_file("vega_datasets", "_data", "stocks.csv")
    found: dict[str, list[tuple[int, float]]] = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["symbol"], []).append((int(row["date"].split()[-1]), float(row["price"])))
        table = {name: np.array(rows) for name, rows in found.items()}
        return {name: (rows[:, 0].astype(np.int64), np.log(rows[:, 1])) for name, rows in table.items()}
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise EdgeRnnError(f"{path} cannot be read: {error!r}; install vega_datasets again") from error


def changes(first_year: int, last_year: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each company each month's change and the next month's, both within these years: ``float32[month, 1]`` each."""
    found = {}
    for name, (years, logs) in closes().items():
        inside = (years >= first_year) & (years <= last_year)
        change = np.diff(logs[inside]).astype(np.float32)[:, None]
        if len(change) > 1:
            found[name] = (change[:-1], change[1:])
    return found


def _sequences(first_year: int, last_year: int) -> Sequences:
    xs, targets = zip(*changes(first_year, last_year).values(), strict=True)
    return side_by_side(xs, targets)


def load() -> Parts:
    """Companies side by side; one came to the market later and is shorter."""
    return Parts(_sequences(0, VALIDATION_YEAR - 1), _sequences(VALIDATION_YEAR, TEST_YEAR - 1))


def score(model: SequenceModel) -> Score:
    """Mean absolute error of the forecast price in percent over the test years; persistence says no change."""
    test = _sequences(TEST_YEAR, 9999)
    assert test.lengths is not None
    inside = torch.arange(test.steps)[:, None] < test.lengths
    with torch.no_grad():
        y, _ = model.eval()(test.x)
    truth = test.target[inside]
    error, still = (
        100 * (torch.exp(guess - truth) - 1).abs().mean() for guess in (y[inside], torch.zeros(len(truth), 1))
    )
    return Score("mean absolute error in %", float(error), float(still), higher_is_better=False)


def answers(model: SequenceModel) -> Answers:
    """Forecast and true changes of the test years in percent (of the logarithm)."""
    found = at_every_step(model, _sequences(TEST_YEAR, 9999))
    return Answers(100 * found.said, 100 * found.truth)


def examples(model: SequenceModel) -> list[Example]:
    """Each company's test years."""
    found: list[Example] = []
    for name, (x, target) in changes(TEST_YEAR, 9999).items():
        with torch.no_grad():
            y, _ = model.eval()(torch.from_numpy(x)[:, None])
        found.append(Forecast(name, 100 * y[:, 0, 0].double().numpy(), 100.0 * target[:, 0], "% a month"))
    return found


def loss(model: SequenceModel) -> Loss:
    """Squared error in standard deviations of the training part's target."""
    assert model.output_scaler is not None
    std = model.output_scaler.std
    return lambda y, target: squared_error(y, target, std)


def streams() -> list[Stream]:
    """Each company's test years, keyed by its symbol."""
    return [Stream(name.lower(), x, None) for name, (x, _) in changes(TEST_YEAR, 9999).items()]


RECIPE = Recipe(
    name="stocks",
    purpose="say how much five shares' prices will change next month; no better than persistence is expected",
    source="stocks (monthly closes of five shares, 2000-2010), as shipped in the package vega_datasets",
    licence="package vega_datasets: MIT; the file itself states no licence",
    baseline="persistence: next month's close is this month's",
    task="regression",
    features=FEATURES,
    labels=LABELS,
    settings=Settings(cell="lstm", hidden=8, l2=0.01, chunk=24, batch=5, learning_rate=0.005, epochs=60, patience=15),
    load=load,
    loss=loss,
    score=score,
    answers=answers,
    examples=examples,
    streams=streams,
    unit="%",
    gated=False,
)
