"""A recipe's model before training."""

from __future__ import annotations

from edge_rnn.models import SequenceModel, build
from edge_rnn.recipes.recipe import Parts, Recipe
from edge_rnn.training import Settings


def prepare(recipe: Recipe, settings: Settings, parts: Parts) -> SequenceModel:
    """A fresh model whose scalers were fitted on the training part only."""
    model = build(
        settings.cell,
        inputs=len(recipe.features),
        outputs=len(recipe.features if recipe.watch else recipe.labels),
        hidden=settings.hidden,
        layers=settings.layers,
        embedding=settings.embedding,
        dropout=settings.dropout,
        inner_dropout=settings.inner_dropout,
        activation=settings.activation,
        bidirectional=settings.bidirectional,
        task="regression" if recipe.watch else recipe.task,
        features=recipe.features,
        labels=None if recipe.watch else recipe.labels,
        vocabulary=recipe.vocabulary,
        prompt_vocabulary=recipe.prompt_vocabulary,
        generation=recipe.generation,
        watch=recipe.watch,
        log_mel=recipe.log_mel,
    )
    if model.scaler is not None:
        model.scaler.fit(model.heard(parts.train.rows()))
    if model.output_scaler is not None:
        model.output_scaler.fit(parts.train.target_rows())
    return model
