"""The gate of the second graph: what it says when the encoder is not the module's, or rounds too much."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import exporters.prompt
from edge_rnn.contract.errors import GateFailed
from edge_rnn.models import EncoderDecoder, build
from exporters.export import export_bundle
from exporters.source import Source

LETTERS = tuple("abcdefgh")


def translator(cell: str, scale: float = 1.0) -> EncoderDecoder:
    """Fresh, its encoder's weights ``scale`` times as large."""
    torch.manual_seed(0)
    model = build(
        cell,
        inputs=1,
        outputs=len(LETTERS),
        hidden=64,
        task="classification",
        vocabulary=LETTERS,
        prompt_vocabulary=LETTERS,
    )
    assert isinstance(model, EncoderDecoder)
    with torch.no_grad():
        for weight in model.prompt_layers.parameters():
            weight.mul_(scale)
    return model


@pytest.mark.parametrize(
    ("cell", "scale", "remedy"),
    [("lstm", 40.0, "it is chaotic, train it with smaller"), ("gru", 6.0, "--tolerance 1e-0[45] allows for that")],
)
def test_export_when_the_encoder_makes_its_own_rounding_grow_says_so(
    cell: str, scale: float, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(GateFailed, match=rf"prompt\.onnx: state .* the module's own rounding grows to .*: {remedy}"):
        export_bundle(Source(translator(cell, scale), "t", {}), tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_export_when_the_prompt_graph_is_another_s_names_state_step_and_distance(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = exporters.prompt.emit_prompt

    def wrong(emission, module, value):
        with torch.no_grad():
            module.prompt_embedding.weight[3] += 0.01
        right(emission, module, value)
        with torch.no_grad():
            module.prompt_embedding.weight[3] -= 0.01

    monkeypatch.setattr(exporters.prompt, "emit_prompt", wrong)
    with pytest.raises(
        GateFailed, match=r"state 'rnn\.0\.h' after step \d+ is off by 0\.00\d+, allowed 1e-06; nothing"
    ):
        export_bundle(Source(translator("gru"), "t", {}), tmp_path / "b")


def test_export_when_the_encoder_is_right_then_its_figure_is_of_the_worst_state(tmp_path: Path) -> None:
    prompt = export_bundle(Source(translator("lstm"), "t", {}), tmp_path / "b").manifest.prompt
    assert prompt is not None
    assert prompt.parity is not None
    assert 0 < prompt.parity.max_abs_error <= prompt.parity.bound == pytest.approx(1e-6, rel=0.2)
