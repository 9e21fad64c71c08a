"""Voice activity over Kafka: live streams that two cores carry, and what a frame costs beside the model alone.

``python -m tests.benchmarks.voice [--streams 500 750 ...] [--seconds 20] [--rounds 3] [--json FILE]``. silero-vad's
own file, imported; made speech in records of 32 ms; one Apache Kafka broker, the feeder and the reader on the same
machine. Ends with status 1 where a target is missed.

- *alone*: the step graph on the same windows, one thread, at the batch that it likes best.
- *backlog*: frames that wait in the topic, taken by a daemon that stands ready. Frames a second of its processor
  time, over the model's alone, which is measured again before and after each round.
- *live*: every stream sends a frame each 32 ms. A number of streams holds if every frame's score was committed and
  99 of 100 within `SOON_S`; the scores of some streams are compared, bit for bit, with a plain loop over the file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.stepgraph import first_states, open_step_graph
from tests.audio.plain_vad import CONTEXT, HOP, RATE, samples_of
from tests.audio.speech import make_speech
from tests.benchmarks.voice_feed import Backlog, Voices, live
from tests.exporters.foreign.packages import FILES, installed_path
from tests.exporters.foreign.plain import import_file
from tests.kafka.broker import RunningKafka

TARGET_STREAMS, TARGET_RATIO = 500, 0.75
SOON_S = 0.25
BATCHES = (32, 64, 128, 256, 512, 1024)
ALONE_S = 1.5
SPEAKERS, SPOKEN_S = 16, 30.0
BACKLOG_STREAMS, BACKLOG_FRAMES = 1000, 120


def alone(bundle: Bundle, voices: Voices, batches: Sequence[int] = BATCHES) -> dict[int, float]:
    """Frames a second of processor time, by streams a call."""
    step, found = open_step_graph(bundle), {}
    sound = np.stack([samples_of(pcm) for pcm in voices.sounds])
    padded = np.concatenate([np.zeros((sound.shape[0], CONTEXT), np.float32), sound], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + HOP, axis=1)[:, ::HOP]
    for batch in batches:
        rows = np.ascontiguousarray(windows[np.arange(batch) % sound.shape[0]].transpose(1, 0, 2))[:64]
        states = first_states(bundle, batch)
        step([rows[:1]], states)  # the first of its shape makes room
        frames, began = 0, time.process_time()
        while time.process_time() < began + ALONE_S:
            _, states = step([rows[frames // batch % len(rows)][None]], states)
            frames += batch
        found[batch] = frames / (time.process_time() - began)
    return found


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.voice", description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[500, 750, 1000, 1250, 1500])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each live run")
    parser.add_argument("--rounds", type=int, default=3, help="of the backlog; the median counts")
    parser.add_argument("--client", default="confluent", help="confluent or kafka-python")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    report: dict[str, object] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    print(f"load before: {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory(prefix="edge-rnn-voice-") as folder, RunningKafka() as kafka:
        path = Path(folder)
        bundle = import_file(installed_path(FILES[0]), FILES[0], path / "vad").bundle
        voices = Voices([make_speech(SPOKEN_S, seed=seed).pcm for seed in range(SPEAKERS)])
        rates = alone(bundle, voices)
        best = max(rates.values())
        batch = max(rates, key=lambda streams: rates[streams])
        report["alone"] = rates
        print("alone, frames a second of processor time, by streams a call:")
        print("  " + ", ".join(f"{batch}: {rate:,.0f}" for batch, rate in rates.items()), flush=True)
        ratios: dict[str, float] = {}
        for emit in ("every", "segments"):
            backlog = Backlog(kafka, bundle, path, voices, options.client, emit, BACKLOG_STREAMS)
            runs, beside = [], [alone(bundle, voices, [batch])[batch]]
            try:
                for _ in range(options.rounds):
                    runs.append(backlog.taken(BACKLOG_FRAMES))
                    beside.append(alone(bundle, voices, [batch])[batch])
            finally:
                backlog.close()
            ratios[emit] = statistics.median(
                2 * run.frames_per_cpu_s / (before + after)
                for run, (before, after) in zip(runs, pairwise(beside), strict=True)
            )
            report[f"backlog, {emit}"] = [run.told() for run in runs]
            report[f"alone beside it, {emit}"] = beside
            print(
                f"backlog, --emit {emit}: {statistics.median(run.frames_per_s for run in runs):,.0f} frames/s,"
                f" {statistics.median(run.frames_per_cpu_s for run in runs):,.0f} a second of processor time:"
                f" {ratios[emit]:.2f} of the model alone",
                flush=True,
            )
        most, lives = 0, []
        for streams in options.streams:
            run = live(kafka, bundle, path, voices, options.client, streams, options.seconds)
            holds = run.percentile_ms(99) <= 1000 * SOON_S
            lives.append({**run.told(), "holds": holds, "of_alone": run.frames_per_cpu_s / best})
            print(
                f"live, {streams} streams ({streams * RATE / HOP:,.0f} frames/s): scores committed after"
                f" {run.percentile_ms(50):.0f} ms, 99 of 100 within {run.percentile_ms(99):.0f} ms; cores used:"
                f" daemon {run.daemon_cores:.2f}, broker {run.broker_cores:.2f}, feeder and reader {run.own_cores:.2f};"
                f" {run.frames_per_cpu_s / best:.2f} of the model alone; {'holds' if holds else 'does not hold'}",
                flush=True,
            )
            if not holds:
                break
            most = streams
        report["live"] = lives
    report |= {"ratios": ratios, "most_streams": most, "load_after": os.getloadavg()[0]}
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2))
    reached = most >= TARGET_STREAMS and ratios["every"] >= TARGET_RATIO
    print(f"{most} live streams (target {TARGET_STREAMS}), {ratios['every']:.2f} of the model (target {TARGET_RATIO})")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
