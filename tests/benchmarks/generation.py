"""Prompts replied to together and one by one: ``python -m tests.benchmarks.generation [--json FILE]``.

The model is as wide as the recipe ``text``'s, its weights are untrained: what it says does not change
what it costs. Processor time of one thread, the best of several runs, as tokens a second.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.signature import GenerationSpec
from edge_rnn.models import build
from exporters.export import export_bundle
from exporters.source import Source
from runtime.core.generation import Request
from runtime.core.philox import stream_number
from runtime.core.sampling import Sampling
from runtime.daemon.generate import open_generator

PROMPTS, TOKENS, RUNS = 64, 40, 3
HIDDEN, EMBEDDING = 160, 32
WAYS = {
    "temperature 0.8": Sampling(temperature=0.8),
    "top-k 20, top-p 0.9": Sampling(temperature=0.8, top_k=20, top_p=0.9),
    "likeliest": Sampling(temperature=0.0),
}


def talker(folder: Path, vocabulary: int) -> Bundle:
    """A GRU that never ends a reply by itself."""
    torch.manual_seed(0)
    names = tuple(f"t{i}" for i in range(vocabulary))
    spec = GenerationSpec(unit="word", begin="t0")
    given = {"inputs": 1, "outputs": vocabulary, "vocabulary": names, "labels": names, "generation": spec}
    model = build("gru", hidden=HIDDEN, embedding=EMBEDDING, task="classification", **given)
    return export_bundle(Source(model, f"talker-{vocabulary}", {}), folder / str(vocabulary), tolerance=1e-5)


def tokens_a_second(bundle: Bundle, prompts: int, sampling: Sampling, count: int = TOKENS) -> float:
    """Over replies to ``prompts`` prompts at once, of ``count`` tokens each."""
    generator = open_generator(bundle, prompts)
    for slot in range(prompts):
        number = stream_number(0, str(slot).encode())
        generator.submit(slot, number, Request(prompt=f"t{slot} t1 t2", sampling=sampling, tokens=count))
    generator.advance()  # the prompts themselves
    began = time.process_time()
    while generator.busy:
        generator.advance()
    return prompts * (count - 1) / (time.process_time() - began)


def ratio(bundle: Bundle, sampling: Sampling, runs: int = RUNS) -> tuple[float, float]:
    """Tokens a second of `PROMPTS` together, and of one alone (64 one by one go as fast as one): the best of each."""
    together = max(tokens_a_second(bundle, PROMPTS, sampling) for _ in range(runs))
    alone = max(tokens_a_second(bundle, 1, sampling, 8 * TOKENS) for _ in range(runs))
    return together, alone


def main(arguments: list[str]) -> None:
    """Print a table; with ``--json`` write it, too."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for vocabulary in (96, 1000, 10_000):
            bundle = talker(Path(folder), vocabulary)
            for way, sampling in WAYS.items():
                together, alone = ratio(bundle, sampling)
                found.append(
                    {
                        "vocabulary": vocabulary,
                        "sampling": way,
                        "together": together,
                        "alone": alone,
                        "ratio": together / alone,
                    }
                )
                print(
                    f"{vocabulary:>6} tokens, {way:<20} 64 together {together:>8,.0f}/s   alone {alone:>7,.0f}/s"
                    f"   {together / alone:.1f} x",
                    flush=True,
                )
    if "--json" in arguments:
        path = Path(arguments[arguments.index("--json") + 1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
