"""Keyword spotting over a topic of PCM: the trained recipe, as one command, on every transport."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
import torch

from edge_rnn.cli.main import run
from edge_rnn.contract.framing import Framing
from edge_rnn.models import save
from edge_rnn.recipes.keyword import CONTEXT, HOP, RATE, clips
from exporters.export import export_bundle
from exporters.source import Source
from tests.daemon.conftest import Place, place  # noqa: F401 (a fixture)
from tests.daemon.processes import DaemonProcess, wait_for
from tests.recipes.conftest import exported_recipe

PIECE = 2 * 411
EVERY = 3
"""One test clip of so many is spoken, of every class."""


@pytest.mark.slow
def test_words_in_a_topic_of_pcm_are_named_as_the_trained_model_names_them(place: Place, tmp_path):  # noqa: F811
    _, outcome, _ = exported_recipe("keyword")
    framing = Framing(hop=HOP, context=CONTEXT, rate=RATE)
    bundle = export_bundle(Source(outcome.model, "keyword", {}), tmp_path / "keyword", framing=framing)
    samples, labels = clips("test")
    chosen = np.random.default_rng(0).permutation(len(labels))[: len(labels) // EVERY]
    waiting = {b"clip-%03d" % i: samples[i].astype("<i2").tobytes() for i in chosen.tolist()}
    windows = sum(len(pcm) // 2 // HOP for pcm in waiting.values())
    command = place.arguments(bundle, "--codec", "pcm16")
    daemon = DaemonProcess(command, place.folder / "daemon.log")
    try:
        wait_for(lambda: "partition ready" in daemon.text(), lambda: daemon.text()[-2000:])
        while waiting:
            place.feed([(n % 4, key, pcm[:PIECE]) for n, (key, pcm) in enumerate(sorted(waiting.items()))])
            waiting = {key: pcm[PIECE:] for key, pcm in waiting.items()}
            waiting = waiting if any(waiting.values()) else {}
        wait_for(lambda: steps_told(place) >= windows, lambda: daemon.text()[-2000:])
        assert daemon.stop() == 0, daemon.text()[-2000:]
    finally:
        daemon.close()
    assert steps_told(place) == windows
    found = told(place)
    x = torch.from_numpy(np.stack([windows_of(samples[i]) for i in chosen], axis=1))
    with torch.no_grad():
        y = outcome.model.eval()(x)
        expected = torch.softmax((y[0] if isinstance(y, tuple) else y)[-1], dim=-1).numpy()
    names = bundle.manifest.outputs[0].labels
    assert names is not None
    said = []
    for row, index in zip(expected, chosen.tolist(), strict=True):
        last = found[b"clip-%03d" % index][-1]
        assert last["label"] == names[int(row.argmax())]
        np.testing.assert_allclose([last["scores"][name] for name in names], row, atol=1e-4)
        said.append(last["label"] == names[labels[index]])
    assert np.mean(said) > 0.6  # by voices never heard, in noise; one of nine by chance


def windows_of(clip: np.ndarray) -> np.ndarray:
    """float32[step, HOP + CONTEXT], by hand."""
    padded = np.concatenate([np.zeros(CONTEXT), clip / 32768]).astype(np.float32)
    return np.stack([padded[at : at + HOP + CONTEXT] for at in range(0, len(clip) - HOP + 1, HOP)])


def told(place: Place) -> dict[bytes, list[dict]]:  # noqa: F811
    """The output records of each stream, in order."""
    found: dict[bytes, list[dict]] = {}
    records = place.read()
    for key, value in zip(records.keys, records.values, strict=True):
        found.setdefault(key or b"", []).append(orjson.loads(value or b"{}"))
    return found


def steps_told(place: Place) -> int:  # noqa: F811
    """Windows that have been named."""
    return sum(len(record["output"]) for records in told(place).values() for record in records)


def test_export_of_a_run_takes_its_framing_from_the_command_line(tmp_path, capsys):
    _, outcome, _ = exported_recipe("keyword")
    save(tmp_path / "run", outcome.model)
    call = ["export", str(tmp_path / "run"), "-o", str(tmp_path / "b")]
    assert run([*call, "--framing", f"hop={HOP},context={CONTEXT},rate={RATE}"]) == 0
    assert run(["inspect", str(tmp_path / "b")]) == 0
    assert f"hop={HOP},context={CONTEXT},rate={RATE}" in capsys.readouterr().out
    assert run([*call[:-1], str(tmp_path / "c"), "--framing", "hop=512,context=64"]) == 2
    assert "makes windows of 576 samples" in capsys.readouterr().err
