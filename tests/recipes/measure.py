"""Measures recipes over five seeds and writes down what was found: ``python -m tests.recipes.measure [NAME ...]``.

It trains each recipe in full, exports it, and keeps scores, seconds and parity in
``edge_rnn/recipes/measured.json``, from which it writes ``docs/recipes.md``. Without names it takes
every recipe; ``--page`` only writes the page anew.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import msgspec

from edge_rnn.contract.errors import GateFailed
from edge_rnn.recipes import RECIPES, find_recipe
from edge_rnn.recipes.measured import MEASURED, PARITY, ROOM, Measured, all_measured, all_tried, best
from edge_rnn.recipes.recipe import Recipe
from edge_rnn.recipes.train import train
from exporters.export import export_bundle
from exporters.source import Source

PAGE = Path("docs/recipes.md")
SEEDS = range(5)
LARGEST_TOLERANCE = 1e-3


def measure(recipe: Recipe) -> Measured:
    """Train and export with each seed."""
    scores, seconds, parities = [], [], []
    for seed in SEEDS:
        began = time.process_time()
        outcome = train(recipe, recipe.settings, seed=seed)
        seconds.append(time.process_time() - began)
        scores.append(outcome.score.value)
        parities.append(parity(recipe, outcome.model))
        print(
            f"{recipe.name} seed {seed}: {outcome.score}, {seconds[-1]:.0f} s, parity {parities[-1]:.1e}",
            flush=True,
        )
    return Measured(
        measure=outcome.score.measure,
        scores=tuple(round(score, 4) for score in scores),
        baseline=round(outcome.score.baseline, 4),
        higher_is_better=outcome.score.higher_is_better,
        seconds=tuple(round(one, 1) for one in seconds),
        parity=tuple(float(f"{one:.2g}") for one in parities),
        settings=msgspec.to_builtins(recipe.settings),
    )


def parity(recipe: Recipe, model) -> float:
    """The export's largest error per unit of the largest absolute value, both graphs of two."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            bundle = export_bundle(Source(model, recipe.name, {}), Path(folder) / "b", tolerance=LARGEST_TOLERANCE)
        except GateFailed as error:
            print(f"{recipe.name}: {error}", flush=True)
            return float("inf")
    figures = [bundle.manifest.gates.parity, *([bundle.manifest.prompt.parity] if bundle.manifest.prompt else [])]
    return max(figure.max_abs_error / figure.bound * LARGEST_TOLERANCE for figure in figures)


def page() -> str:
    """``docs/recipes.md``."""
    rows, about = [], []
    known = all_measured()
    for name in sorted(known):
        recipe, found = find_recipe(name), known[name]
        scores = ", ".join(f"{score:.3f}" for score in found.scores)
        wins = sum(found.beats(score) for score in found.scores)
        verdict = f"{wins} of {len(found.scores)}" if recipe.gated else f"{wins} of {len(found.scores)}, no gate"
        worst = max(found.seconds)
        rows.append(
            f"| `{name}` | {found.measure} | {scores} | {found.baseline:.3f} | {verdict} | {worst:.0f} s | {found.parity[0]:.1e}, {max(found.parity):.1e} |"
        )
        streams = (
            "prompts and replies (`edge-rnn generate`, `run --mode generate`)"
            if recipe.generation
            else "one output a record"
        )
        about.append(
            f"## {name}\n\n{recipe.purpose[0].upper()}{recipe.purpose[1:]}.\n\n- data: {recipe.source}\n"
            f"- licence: {recipe.licence}\n- baseline: {recipe.baseline}\n- as a stream: {streams}\n"
            f"- settings: {settings_of(recipe)}\n- tried: {tried_of(name)}\n"
        )
    head = (
        "# Recipes\n\nWritten by `make recipes`, which trains each recipe with the seeds 0 to 4 and exports it: do not edit.\n"
        "Settings were chosen before, among the candidates that `python -m tests.recipes.choose` tries: by the loss on the\n"
        "validation part, with other seeds, the test part unseen (`edge_rnn/recipes/tried.json`). What the candidates have\n"
        "in common (cell, batch, chunk, epochs) was set while the recipes were written, when test scores were seen, too.\n"
        "Seconds are the processor's, of the slowest seed on one core.\n"
        "Parity is the export's largest error over 256 steps per unit of the largest absolute value, of seed 0 and of the\n"
        "worst seed; above 1e-6 the export asks for `--tolerance`.\n\n"
        "| recipe | score | seeds 0 to 4 | baseline | better | training | parity |\n|-|-|-|-|-|-|-|\n"
    )
    return head + "\n".join(rows) + "\n\n" + "\n".join(about)


def tried_of(name: str) -> str:
    """The candidates' validation losses, the chosen one first."""
    tried = all_tried()[name]
    chosen = best(tried)
    others = sorted(one.validation_loss for one in tried if one is not chosen)
    held = sum(one.parity > ROOM * PARITY for one in tried)
    left_out = f"; {held} left out for their parity" if held else ""
    return f"{len(tried)} candidates, validation loss {chosen.validation_loss:.4g} ({', '.join(f'{one:.4g}' for one in others)}{left_out})"


def settings_of(recipe: Recipe) -> str:
    """What the recipe sets other than the defaults."""
    defaults = type(recipe.settings)()
    return ", ".join(
        f"{field} {value}"
        for field, value in msgspec.structs.asdict(recipe.settings).items()
        if value != getattr(defaults, field)
    )


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if arguments != ["--page"]:
        for name in arguments or sorted(RECIPES):
            found = {**all_measured(), name: measure(find_recipe(name))}
            encoded = msgspec.json.encode(dict(sorted(found.items())))
            MEASURED.write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")
            all_measured.cache_clear()
    PAGE.write_text(page())


if __name__ == "__main__":
    main(sys.argv[1:])
