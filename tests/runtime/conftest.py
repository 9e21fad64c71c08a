"""Bundles that the runtime's tests share."""

from __future__ import annotations

import pytest

from edge_rnn.contract.bundle import Bundle
from tests.models_for_tests import make_bundle


@pytest.fixture(scope="session")
def lstm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two layers of LSTM, 3 features, 2 outputs."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "lstm", layers=2)


@pytest.fixture(scope="session")
def classifier_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A GRU classifier with named features and labels."""
    return make_bundle(
        tmp_path_factory.mktemp("bundles") / "gru",
        "gru",
        task="classification",
        features=("ax", "ay", "az"),
        labels=("rest", "walk"),
    )
