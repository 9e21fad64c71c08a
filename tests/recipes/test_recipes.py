"""The recipes: data, splits, no leak, and a shortened training that beats the baseline."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from edge_rnn.contract.errors import MissingDependency
from edge_rnn.recipes import RECIPES, find_recipe
from edge_rnn.recipes.activity import LABELS, load, nearest_neighbour, recordings
from edge_rnn.recipes.packaged import packaged_file
from edge_rnn.recipes.preparing import prepare
from edge_rnn.recipes.train import train
from edge_rnn.recipes.weather import FEATURES, TEMP_MAX, days, forecast, pairs

SHORT = {"activity": {"epochs": 12}, "weather": {"epochs": 15}}


@pytest.fixture(scope="module", params=sorted(RECIPES))
def trained(request):
    recipe = find_recipe(request.param)
    settings = msgspec.structs.replace(recipe.settings, **SHORT[recipe.name])
    return recipe, train(recipe, settings, seed=1)


def test_recipe_when_shortened_then_beats_its_baseline(trained):
    recipe, outcome = trained
    assert outcome.score.beats_baseline, outcome.score
    assert outcome.score.baseline == pytest.approx(recipe.measured.baseline, abs=1e-3)


def test_recipe_when_the_future_is_shuffled_then_past_outputs_stay(trained):
    recipe, outcome = trained
    rows = torch.from_numpy(recipe.streams()[0].rows)[:, None]
    half = len(rows) // 2
    shuffled = torch.cat([rows[:half], rows[half:][torch.randperm(len(rows) - half)]])
    with torch.no_grad():
        assert torch.equal(outcome.model(rows)[0][:half], outcome.model(shuffled)[0][:half])


def test_recipe_when_run_then_streams_fit_the_model(trained):
    recipe, outcome = trained
    streams = recipe.streams()
    assert len({stream.key for stream in streams}) == len(streams)
    for stream in streams:
        assert stream.rows.dtype == np.float32
        assert stream.rows.shape[1] == len(recipe.features) == len(outcome.model.features)
        assert stream.label is None or stream.label in recipe.labels


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_when_prepared_then_scalers_know_the_training_part_only(name):
    recipe = find_recipe(name)
    parts = recipe.load()
    model = prepare(recipe, recipe.settings, parts)
    rows = parts.train.x.reshape(-1, len(recipe.features)).double()
    torch.testing.assert_close(model.scaler.mean.double(), rows.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.scaler.std.double(), rows.std(0, correction=0), atol=1e-5, rtol=1e-5)
    if model.output_scaler is not None:
        assert model.output_scaler.mean.item() == pytest.approx(parts.train.target.mean().item(), rel=1e-5)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_when_measured_then_five_seeds_beat_the_baseline(name):
    recipe = find_recipe(name)
    measured = recipe.measured
    assert len(measured.scores) == 5
    better = max if name == "activity" else min
    assert all(better(score, measured.baseline) == score != measured.baseline for score in measured.scores)


def test_activity_when_loaded_then_validation_comes_from_the_training_part():
    x, _ = recordings("TRAIN")
    parts = load()
    assert x.shape == recordings("TEST")[0].shape == (40, 100, 6)
    assert (parts.train.count, parts.validation.count) == (28, 12)
    known = {row.tobytes() for row in x}
    inside = {np.ascontiguousarray(parts.validation.x[:, i].numpy()).tobytes() for i in range(12)}
    training = {np.ascontiguousarray(parts.train.x[:, i].numpy()).tobytes() for i in range(28)}
    assert inside <= known
    assert not inside & training
    assert np.bincount(parts.validation.target[0].numpy()).tolist() == [3] * len(LABELS)
    assert 0.25 < nearest_neighbour() < 1


def test_weather_when_split_then_years_do_not_overlap_and_targets_are_the_next_day():
    train_x, train_y = pairs(2012, 2013)
    x, y = pairs(2015, 2015)
    assert (len(train_x), len(x)) == (730, 364)
    assert np.array_equal(train_x[1:, TEMP_MAX], train_y[:-1, 0])
    assert np.array_equal(x[1:, TEMP_MAX], y[:-1, 0])
    assert days().dates[0].year == 2012
    assert len(FEATURES) == x.shape[1]


def test_weather_when_forecasting_then_gives_a_degree_figure_a_day():
    recipe = find_recipe("weather")
    model = prepare(recipe, recipe.settings, recipe.load())
    x, _ = pairs(2015, 2015)
    found = forecast(model, x)
    assert found.shape == (len(x),)
    assert 5 < found.mean() < 30


@pytest.mark.parametrize(("package", "file"), [("no_such_package", "x.csv"), ("vega_datasets", "no-such-file.csv")])
def test_packaged_file_when_missing_then_gives_the_pip_line(package, file):
    with pytest.raises(MissingDependency, match=r"pip install 'edge-rnn\[recipes\]'"):
        packaged_file(package, file)
