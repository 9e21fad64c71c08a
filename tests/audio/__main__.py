"""The picture of voice activity: ``python -m tests.audio [--out docs/vad.png]``.

Made speech through the bundle of silero-vad as ``edge-rnn replay --emit segments`` runs it: the waveform,
the score of every window, the segments told, and where the phrases were made.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import orjson

from runtime.daemon.replay import replay
from tests.audio.speech import make_speech
from tests.exporters.foreign.packages import FILES, installed_path
from tests.exporters.foreign.plain import import_file

SECONDS = 20.0


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/vad.png"))
    out = parser.parse_args().out
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    speech = make_speech(SECONDS, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        bundle = import_file(installed_path(FILES[0]), FILES[0], Path(folder) / "vad").bundle
        wav = speech.write(Path(folder) / "speech.wav")
        scores = [row[0] for line in _lines(bundle.path, wav, "every") for row in line["output"]]
        events = [event for line in _lines(bundle.path, wav, "segments") for event in line["segments"]]
    framing = bundle.manifest.framing
    assert framing is not None
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(11, 4.2), sharex=True, height_ratios=(2, 1))
    top.plot(np.arange(speech.samples.size) / speech.rate, speech.samples, color="#4c5866", linewidth=0.4)
    for number, event in enumerate(event for event in events if event["event"] == "end"):
        label = "segments told" if number == 0 else None
        top.axvspan(event["start"], event["end"], color="#2a9d8f", alpha=0.25, linewidth=0, label=label)
    for number, (begin, end) in enumerate(speech.phrases):
        label = "phrases made" if number == 0 else None
        top.plot([begin, end], [-0.36, -0.36], color="#e76f51", linewidth=3, solid_capstyle="butt", label=label)
    top.set_ylim(-0.42, 0.42)
    top.set_ylabel("sample")
    top.legend(loc="upper right", frameon=False, ncols=2)
    ends = (np.arange(len(scores)) + 1) * framing.hop / framing.rate
    bottom.step(ends, scores, where="pre", color="#264653", linewidth=1)
    for level, name in ((0.5, "on"), (0.35, "off")):
        bottom.axhline(level, color="#bbbbbb", linewidth=0.8, linestyle="--")
        bottom.annotate(name, (SECONDS, level), fontsize=7, va="center")
    bottom.set_ylim(0, 1.02)
    bottom.set_ylabel("speech")
    bottom.set_xlabel("seconds")
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, dpi=90)
    told = sum(event["event"] == "end" for event in events)
    print(f"{told} segments told of {len(speech.phrases)} phrases made, in {out}")


def _lines(bundle: Path, wav: Path, emit: str) -> list[dict]:
    return [orjson.loads(line) for lines in replay(bundle, wav, emit=emit) for line in lines]


if __name__ == "__main__":
    main()
