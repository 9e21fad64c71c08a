"""Models beyond cells and heads: tokens, widths by layer, watchers, sound; and what cannot stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_rnn.contract.errors import ExportRefused
from edge_rnn.contract.golden import load_golden
from edge_rnn.contract.signature import GenerationSpec
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from edge_rnn.contract.trial import run_chunks
from edge_rnn.contract.verification import subject_of, verify_bundle
from edge_rnn.models import LogMelArguments, Watcher, build
from exporters.export import export_bundle
from exporters.precision.convert import Wanted, convert_bundle
from exporters.source import Source

TOKENS = tuple("abcdefg")


def export(model, path):
    return export_bundle(Source(model, "model", {}), path)


@pytest.mark.parametrize("cell", ["elman", "jordan", "lstm", "gru"])
def test_export_when_the_input_is_tokens_then_keeps_the_vocabulary_and_every_bit(cell, tmp_path):
    torch.manual_seed(0)
    arguments = {"inputs": 1, "outputs": 7, "vocabulary": TOKENS, "labels": TOKENS, "features": ("letter",)}
    bundle = export(build(cell, hidden=128, layers=2, task="classification", **arguments), tmp_path / "b")
    (spec,) = bundle.manifest.inputs
    assert (spec.dtype, spec.shape, spec.vocabulary, spec.features) == ("int64", ("time", "batch"), TOKENS, ("letter",))
    assert bundle.manifest.gates.bit_stability.holds
    assert load_golden(bundle).inputs[0].max() == 6
    assert verify_bundle(bundle).parity.max_abs_error <= bundle.manifest.gates.parity.bound


def test_export_when_a_token_is_outside_the_vocabulary_then_spoils_its_own_stream_and_step_only(tmp_path):
    torch.manual_seed(0)
    arguments = {"inputs": 1, "outputs": 7, "vocabulary": TOKENS, "labels": TOKENS}
    bundle = export(build("gru", task="classification", **arguments), tmp_path / "b")
    step = open_step_graph(bundle)
    (y,), _ = step([np.asarray([[3, -1, 7, 3], [1, 1, 1, 1]], np.int64)], first_states(bundle, 4))
    (expected,), _ = step([np.asarray([[3], [1]], np.int64)], first_states(bundle, 1))
    assert np.isnan(y).any(axis=2).tolist() == [[False, True, True, False], [False] * 4]
    assert np.array_equal(y[:, [0, 3]], np.repeat(expected, 2, axis=1))


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_convert_when_the_model_generates_from_a_prompt_then_keeps_both_graphs(precision, tmp_path):
    torch.manual_seed(0)
    spec = GenerationSpec(unit="character", begin="a", stop="a", turns="fresh")
    arguments = {"inputs": 1, "outputs": 7, "vocabulary": TOKENS, "labels": TOKENS, "prompt_vocabulary": ("x", "y")}
    model = build("gru", hidden=32, task="classification", generation=spec, **arguments)
    exact = export(model, tmp_path / "fp32")
    other = convert_bundle(exact, tmp_path / precision, Wanted(precision, weight_bits=7))
    assert other.manifest.precision == precision
    assert (other.manifest.generation, other.manifest.prompt) == (spec, exact.manifest.prompt)
    assert other.manifest.prompt.graph == "prompt.onnx"
    assert (other.path / "prompt.onnx").read_bytes() == (exact.path / "prompt.onnx").read_bytes()
    assert other.graph_path.read_bytes() != exact.graph_path.read_bytes()
    verify_bundle(other)


def test_export_when_every_layer_has_its_width_then_states_have_them(tmp_path):
    bundle = export(build("elman", inputs=3, outputs=1, hidden=(128, 64)), tmp_path / "b")
    assert [state.shape[-1] for state in bundle.manifest.states] == [128, 64]


@pytest.mark.parametrize("cell", ["elman", "jordan", "lstm", "gru"])
def test_export_when_bidirectional_then_refuses_and_names_what_streams(cell, tmp_path):
    with pytest.raises(ExportRefused, match=r"'rnn\.0' .*backward half.*bidirectional=false.*delayed"):
        export(build(cell, inputs=3, outputs=1, bidirectional=True), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def watcher() -> tuple[Watcher, torch.Tensor]:
    torch.manual_seed(0)
    model = build("gru", inputs=2, outputs=2, hidden=6, watch=True)
    x = torch.randn(60, 3, 2) * 5 + 30
    model.scaler.fit(x)
    model.output_scaler.fit(x)
    return model, x


def test_watcher_when_calibrated_then_scores_the_error_of_the_forecast_made_a_step_before():
    model, x = watcher()
    forecast, _ = model.eval()(x)
    model.calibrate(x)
    y, _ = model(x)
    std = model.output_scaler.std.numpy()
    off = (x.numpy()[1:] - forecast.detach().numpy()[:-1]) / std
    error = np.sqrt((off**2).mean(-1))
    spread = np.sqrt((error**2).mean())
    assert model.spread.item() == pytest.approx(spread, rel=1e-4)
    np.testing.assert_allclose(y[1:, :, 1].detach(), error / spread - model.threshold.item(), rtol=1e-3, atol=1e-4)
    assert y[1:, :, 1].max().item() == pytest.approx(0, abs=1e-4)
    assert (y[..., 0] == 0).all()


def test_watcher_when_exported_then_the_forecast_is_a_state(tmp_path):
    model, x = watcher()
    with pytest.raises(ExportRefused, match="calibrate"):
        export(model, tmp_path / "b")
    model.calibrate(x)
    bundle = export(model, tmp_path / "b")
    assert [state.name for state in bundle.manifest.states] == ["rnn.0.h", "watch.next"]
    assert bundle.manifest.outputs[0].labels == ("normal", "anomaly")
    subject = subject_of(bundle, open_step_graph(bundle))
    loud = x.clone()
    loud[40, 1] += 100
    found = run_chunks(subject, [loud.numpy()], [7, 30, 3, 20]).outputs[0]
    assert (found[40, :, 1] > 0).tolist() == [False, True, False]


def test_log_mel_when_given_a_tone_then_its_band_is_the_loudest_and_numpy_agrees():
    arguments = LogMelArguments(rate=8000, window=256, bands=20)
    torch.manual_seed(0)
    model = build("gru", inputs=256, outputs=2, log_mel=msgspec_of(arguments))
    step = np.arange(256)
    tones = np.stack([0.5 * np.sin(2 * np.pi * hertz * step / 8000) for hertz in (300, 1000, 3000)])
    found = model.heard(torch.from_numpy(tones).float()).numpy()
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * step / 256)
    power = np.abs(np.fft.rfft(tones * hann)) ** 2
    mel = 2595 * np.log10(1 + np.linspace(0, 4000, 129) / 700)
    ends = 2595 * np.log10(1 + np.array([60, 4000]) / 700)
    middle_mel = np.linspace(*ends, 22)
    hertz = 700 * (10 ** (middle_mel / 2595) - 1)
    pitch = np.linspace(0, 4000, 129)
    bank = np.stack([np.interp(pitch, hertz[i : i + 3], [0, 1, 0], left=0, right=0) for i in range(20)], axis=1)
    np.testing.assert_allclose(found, np.log(power @ bank + 1e-2), atol=2e-3)
    expected = [np.interp(f, pitch, mel) for f in (300, 1000, 3000)]
    assert np.abs(middle_mel[1:-1][found.argmax(1)] - expected).max() < np.diff(middle_mel)[0]


def test_export_when_the_input_is_sound_then_the_graph_holds_the_log_mel(tmp_path):
    torch.manual_seed(0)
    model = build("gru", inputs=64, outputs=3, log_mel={"rate": 8000, "window": 64, "bands": 8})
    model.scaler.fit(model.heard(0.1 * torch.randn(500, 64)))
    bundle = export(model, tmp_path / "b")
    assert bundle.manifest.inputs[0].shape == ("time", "batch", 64)
    assert bundle.manifest.gates.tolerance == 1e-6


def msgspec_of(arguments: LogMelArguments) -> dict[str, float]:
    return {"rate": arguments.rate, "window": arguments.window, "bands": arguments.bands}
