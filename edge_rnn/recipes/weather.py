"""How warm will it get tomorrow? One forecast a day for Seattle.

Data: daily precipitation, temperature extremes and wind in Seattle, 2012 to 2015, public-domain
NOAA observations as shipped inside the package vega_datasets (``seattle-weather.csv``). Split by
calendar year: 2012 and 2013 to train, 2014 for early stopping, 2015 to test.

The score is the mean absolute error over 2015, beside that of tomorrow as today. The settings were
chosen by the validation loss.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from datetime import date
from functools import cache

import numpy as np
import torch

from edge_rnn.contract.errors import EdgeRnnError
from edge_rnn.models import SequenceModel
from edge_rnn.models.regression import squared_error
from edge_rnn.recipes.answers import Answers
from edge_rnn.recipes.packaged import packaged_file
from edge_rnn.recipes.recipe import Parts, Recipe, Score, Stream
from edge_rnn.training import Sequences, Settings
from edge_rnn.training.loop import Loss
from edge_rnn.training.report.shown import Example, Forecast

FEATURES = ("precipitation", "temp_max", "temp_min", "wind", "season_sin", "season_cos")
LABELS = ("temp_max_tomorrow",)
TEMP_MAX = FEATURES.index("temp_max")
VALIDATION_YEAR, TEST_YEAR = 2014, 2015
YEAR_DAYS = 365.2425


@dataclass(frozen=True)
class Days:
    """``rows: float32[day, feature]`` and the day's date; mm, °C, °C, m/s, and the season on a circle."""

    dates: list[date]
    rows: np.ndarray


@cache
def days() -> Days:
    """All days in order. Raises `EdgeRnnError` when the file reads otherwise or a day is missing."""
    path = packaged_file("vega_datasets", "_data", "seattle-weather.csv")
    dates, rows = [], []
    try:
        with path.open(newline="") as file:
            for record in csv.DictReader(file):
                day = date(*(int(part) for part in record["date"].split("/")))
                angle = 2 * math.pi * day.timetuple().tm_yday / YEAR_DAYS
                dates.append(day)
                rows.append([*(float(record[name]) for name in FEATURES[:4]), math.sin(angle), math.cos(angle)])
    except (KeyError, ValueError, TypeError) as error:
        raise EdgeRnnError(f"{path} cannot be read: {error!r}; install vega_datasets again") from error
    if [day.toordinal() - dates[0].toordinal() for day in dates] != list(range(len(dates))):
        raise EdgeRnnError(f"{path} lacks days between {dates[0]} and {dates[-1]}; install vega_datasets again")
    return Days(dates, np.array(rows, np.float32))


def pairs(first_year: int, last_year: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of days and the next day's maximum, both days within these years.

    ``x: float32[day, feature]``, ``target: float32[day, 1]`` in °C.
    """
    known = days()
    inside = np.flatnonzero([first_year <= day.year <= last_year for day in known.dates])
    rows = known.rows[inside]
    return rows[:-1], rows[1:, TEMP_MAX : TEMP_MAX + 1]


def _one(x: np.ndarray, target: np.ndarray) -> Sequences:
    return Sequences(torch.from_numpy(x)[:, None], torch.from_numpy(target)[:, None])


def load() -> Parts:
    """Training years as one long sequence, and the validation year."""
    first = days().dates[0].year
    return Parts(_one(*pairs(first, VALIDATION_YEAR - 1)), _one(*pairs(VALIDATION_YEAR, VALIDATION_YEAR)))


def forecast(model: SequenceModel, rows: np.ndarray) -> np.ndarray:
    """Tomorrow's maximum after each of ``rows: float32[day, feature]``, ``float32[day]`` in °C."""
    with torch.no_grad():
        y, _ = model.eval()(torch.from_numpy(rows)[:, None])
    return np.asarray(y[:, 0, 0].numpy())


def score(model: SequenceModel) -> Score:
    """Mean absolute error in °C over the test year, from an empty state on its first day."""
    x, target = pairs(TEST_YEAR, TEST_YEAR)
    error = float(np.abs(forecast(model, x) - target[:, 0]).mean())
    persistence = float(np.abs(x[:, TEMP_MAX] - target[:, 0]).mean())
    return Score("mean absolute error in °C", error, persistence, higher_is_better=False)


def answers(model: SequenceModel) -> Answers:
    """Forecast and truth of every day of the test year but the last."""
    x, target = pairs(TEST_YEAR, TEST_YEAR)
    return Answers(forecast(model, x).astype(np.float64), target[:, 0].astype(np.float64))


def examples(model: SequenceModel) -> list[Example]:
    """The test year."""
    found = answers(model)
    return [Forecast(f"Seattle {TEST_YEAR}, day by day", found.said, found.truth, "°C")]


def loss(model: SequenceModel) -> Loss:
    """Squared error in standard deviations of the training part's target."""
    assert model.output_scaler is not None
    std = model.output_scaler.std
    return lambda y, target: squared_error(y, target, std)


def streams() -> list[Stream]:
    """The test year as one stream, keyed ``seattle``."""
    x, _ = pairs(TEST_YEAR, TEST_YEAR)
    return [Stream("seattle", x, None)]


RECIPE = Recipe(
    name="weather",
    purpose="forecast tomorrow's maximum temperature in Seattle from the days so far",
    source="seattle-weather (NOAA daily observations 2012-2015), as shipped in the package vega_datasets",
    licence="public domain (NOAA); package vega_datasets: MIT",
    baseline="persistence: tomorrow's maximum is today's",
    task="regression",
    features=FEATURES,
    labels=LABELS,
    settings=Settings(cell="lstm", hidden=32, l2=0.001, chunk=32, batch=1, learning_rate=0.003, epochs=60, patience=15),
    load=load,
    loss=loss,
    score=score,
    answers=answers,
    examples=examples,
    streams=streams,
    unit="°C",
)
