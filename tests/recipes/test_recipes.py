"""The recipes: data, splits, no leak, and a shortened training that beats the baseline."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from edge_rnn.contract.errors import MissingDependency
from edge_rnn.recipes import RECIPES, find_recipe
from edge_rnn.recipes.activity import LABELS, load, nearest_neighbour, recordings
from edge_rnn.recipes.language import ngram_bits
from edge_rnn.recipes.measured import all_measured, all_tried, best
from edge_rnn.recipes.packaged import packaged_file
from edge_rnn.recipes.preparing import prepare
from edge_rnn.recipes.text import VOCABULARY, topics
from edge_rnn.recipes.weather import FEATURES, TEMP_MAX, days, forecast, pairs
from tests.recipes.measure import PAGE, SEEDS, page
from tests.recipes.through_graph import through_graph


def as_input(recipe, rows: np.ndarray) -> torch.Tensor:
    """A stream's rows as the model takes them."""
    x = torch.from_numpy(rows)
    return x if recipe.vocabulary else x[:, None]


def test_recipe_when_shortened_then_beats_its_baseline(trained):
    recipe, outcome = trained
    assert np.isfinite(outcome.score.value)
    assert outcome.score.baseline == pytest.approx(all_measured()[recipe.name].baseline, rel=0.02)
    if recipe.name == "text":  # one epoch of five: past 3-grams, not yet past 5-grams
        trigrams = ngram_bits(topics("train"), topics("test"), len(VOCABULARY), 3)
        assert outcome.score.value < trigrams
    elif recipe.gated:
        assert outcome.score.beats_baseline, outcome.score


def test_recipe_when_the_future_is_shuffled_then_past_outputs_stay(exported):
    recipe, outcome, bundle = exported
    if recipe.streams():
        x = as_input(recipe, recipe.streams()[0].rows[:200])
    else:  # an encoder-decoder: what the decoder is fed
        x = torch.randint(len(recipe.vocabulary), (20, 1), generator=torch.Generator().manual_seed(0))
    half = len(x) // 2
    order = torch.randperm(len(x) - half, generator=torch.Generator().manual_seed(1))
    shuffled = torch.cat([x[:half], x[half:][order]])
    for model in (outcome.model, through_graph(outcome.model, bundle)):
        with torch.no_grad():
            first, second = model(x)[0], model(shuffled)[0]
        assert torch.equal(first[:half], second[:half])
        assert not torch.equal(first[half:], second[half:])


def test_recipe_when_run_then_streams_or_prompts_fit_the_model(trained):
    recipe, outcome = trained
    streams = recipe.streams()
    assert streams or recipe.prompts()
    assert len({stream.key for stream in streams}) == len(streams)
    for stream in streams:
        assert stream.rows.dtype == (np.int64 if recipe.vocabulary else np.float32)
        assert stream.rows.shape[1] == len(recipe.features) == len(outcome.model.features)
        assert stream.label is None or stream.label in recipe.labels


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_when_prepared_then_scalers_know_the_training_part_only(name):
    recipe = find_recipe(name)
    parts = recipe.load()
    model = prepare(recipe, recipe.settings, parts)
    if model.scaler is not None:
        rows = model.heard(parts.train.rows()).reshape(-1, model.scaler.mean.shape[0]).double()
        torch.testing.assert_close(model.scaler.mean.double(), rows.mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.scaler.std.double(), rows.std(0, correction=0), atol=1e-5, rtol=1e-5)
    if model.output_scaler is not None:
        inside = parts.train.target_rows()
        assert model.output_scaler.mean.item() == pytest.approx(inside.mean().item(), rel=1e-5)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_when_measured_then_five_seeds_beat_the_baseline(name):
    measured = all_measured()[name]
    assert len(measured.scores) == 5
    assert measured.settings == msgspec.to_builtins(find_recipe(name).settings)
    assert measured.parity[0] <= 1e-6
    if find_recipe(name).gated:
        assert all(measured.beats(score) for score in measured.scores)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_recipe_when_its_settings_were_chosen_then_they_are_the_best_of_the_validation_part(name):
    tried = all_tried()[name]
    assert len(tried) >= 3
    assert not {seed for one in tried for seed in one.seeds} & set(SEEDS)
    settings = msgspec.to_builtins(find_recipe(name).settings)
    for field, value in best(tried).settings.items():
        assert settings[field] == value, field


def test_page_when_written_anew_then_is_the_one_in_the_docs():
    assert PAGE.read_text() == page()


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
