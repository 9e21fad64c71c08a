"""The first three steps: train, export, verify; the same functions that the commands call."""

from __future__ import annotations

import time

from edge_rnn.contract.bundle import Bundle, open_bundle
from edge_rnn.contract.verification import verify_bundle
from edge_rnn.demo.folder import DemoFolder
from edge_rnn.demo.narrator import Narrator
from edge_rnn.demo.result import Made
from edge_rnn.demo.settings import RECIPE, DemoSettings, shown, train_command
from edge_rnn.recipes import find_recipe
from edge_rnn.recipes.recipe import Recipe
from edge_rnn.recipes.reporting import Outcome
from edge_rnn.recipes.train import train_run
from edge_rnn.training.progress import progress_for
from edge_rnn.training.settings import override
from exporters.export import export_bundle
from exporters.source import resolve_source


def make_bundle(settings: DemoSettings, folder: DemoFolder, narrator: Narrator) -> tuple[Bundle, Made]:
    """Train the recipe, export its run and verify the bundle."""
    recipe = find_recipe(RECIPE)
    outcome = _train(recipe, settings, folder, narrator)

    narrator.step("export it as a step graph: its state goes in and comes out", shown(export_command(folder)))
    exported = export_bundle(resolve_source(str(folder.run)), folder.bundle)
    gates = exported.manifest.gates
    assert gates is not None
    graph_bytes = exported.graph_path.stat().st_size
    states = ", ".join(spec.name for spec in exported.manifest.states)
    narrator.say(f"{graph_bytes:,} bytes; a stream's state: {exported.manifest.state_bytes} bytes ({states})")
    narrator.say(
        f"same as PyTorch within {gates.parity.max_abs_error:.1e} (allowed {gates.parity.bound:.1e})"
        f" over {gates.parity.steps} steps of {gates.parity.batch} streams"
    )

    narrator.step("verify the bundle, as a device would: no PyTorch", shown(verify_command(folder)))
    bundle = open_bundle(folder.bundle)
    began = time.monotonic()
    verified = verify_bundle(bundle)
    bits = "every bit kept" if verified.bit_stability.holds else "bits differ, within the tolerance"
    narrator.say(f"streams keep apart, chunks change nothing, {bits}; {time.monotonic() - began:.1f} s")
    made = Made(
        score=outcome.score.value,
        baseline=outcome.score.baseline,
        epochs=len(outcome.history.train),
        train_s=outcome.seconds,
        graph_bytes=graph_bytes,
        state_bytes=bundle.manifest.state_bytes,
        exported=gates,
        verified=verified,
    )
    return bundle, made


def export_command(folder: DemoFolder) -> list[str]:
    """What to type to export the same bundle."""
    return ["export", str(folder.run), "-o", str(folder.bundle)]


def verify_command(folder: DemoFolder) -> list[str]:
    """What to type to verify it again."""
    return ["verify", str(folder.bundle)]


def _train(recipe: Recipe, settings: DemoSettings, folder: DemoFolder, narrator: Narrator) -> Outcome:
    narrator.step(f"train an RNN in PyTorch: {recipe.purpose}", shown(train_command(settings, folder.run)))
    changes = {} if settings.epochs is None else {"epochs": str(settings.epochs)}
    chosen = override(recipe.settings, changes)
    progress = progress_for(narrator.stream) if narrator.stream.isatty() else None
    outcome = train_run(recipe, folder.run, chosen, seed=settings.seed, progress=progress)
    score = outcome.score
    narrator.say(
        f"{score.measure} {score.value:.3f} on recordings never trained on (nearest neighbour: {score.baseline:.3f});"
        f" {len(outcome.history.train)} epochs in {outcome.seconds:.1f} s"
    )
    return outcome
