"""The demo from the first line to the last: each step is told on the terminal as it happens.

1. train     an RNN in PyTorch
2. export    a step graph whose state goes in and comes out
3. verify    the bundle alone
4. run       a daemon that keeps a state per stream
5. feed      live streams; SIGKILL in the middle, and a new start
6. compare   every output with a plain loop; then draw the page
"""

from __future__ import annotations

import json
import uuid

import numpy as np

from edge_rnn.contract.bundle import Bundle
from edge_rnn.demo.compare import Record, Verdict, compare
from edge_rnn.demo.expected import step_by_step
from edge_rnn.demo.feed import Plan
from edge_rnn.demo.folder import DemoFolder
from edge_rnn.demo.making import export_command, make_bundle, verify_command
from edge_rnn.demo.narrator import Narrator
from edge_rnn.demo.page import draw_page
from edge_rnn.demo.predictions import collect_predictions
from edge_rnn.demo.result import Result, Served
from edge_rnn.demo.serving import make_topics, serve
from edge_rnn.demo.settings import RECIPE, DemoSettings, Place, choose_place, run_command, shown, train_command
from edge_rnn.demo.timeline import median_latency_ms, recover
from edge_rnn.recipes import find_recipe


def tell(settings: DemoSettings, narrator: Narrator) -> Result:
    """Do all of it; leaves the page and the figures in ``settings.out``.

    Raises the errors of the parts. A result that is not exact is returned, not raised.
    """
    with DemoFolder(settings.out) as folder:
        folder.clear()
        place = choose_place(settings, folder.store, uuid.uuid4().hex[:8])
        make_topics(place)
        bundle, made = make_bundle(settings, folder, narrator)
        recipe = find_recipe(RECIPE)
        streams = [stream._replace(rows=stream.rows[: settings.steps]) for stream in recipe.streams()]
        plan = Plan(tuple(s.key for s in streams), recipe.features, tuple(s.rows for s in streams))
        served = serve(place, folder, plan, settings, narrator)

        narrator.step("compare every output with a plain loop: one stream, one step, one call, never killed")
        verdict = judge(bundle, plan, served)
        narrator.say(tell_verdict(verdict))
        sent, seen = served.sent, served.seen
        result = Result(
            place=place,
            made=made,
            served=served,
            predictions=collect_predictions(plan.keys, [s.label or "" for s in streams], recipe.labels, sent, seen),
            verdict=verdict,
            recovery=recover(sent.at_s, seen.at_s, served.moments),
            latency_ms=median_latency_ms(plan.keys, sent, seen),
            commands=commands(settings, folder, place),
            total_s=narrator.elapsed_s,
        )
        folder.page.write_text(draw_page(result), encoding="utf-8")
        folder.result.write_text(json.dumps(result.figures(), indent=2) + "\n", encoding="utf-8")
    return result


def judge(bundle: Bundle, plan: Plan, served: Served) -> Verdict:
    """Compare what came out with the plain loop, bit by bit."""
    truth = step_by_step(bundle, plan.rows)
    sent, seen = served.sent, served.seen
    wanted = [
        Record(plan.keys[stream], timestamp, np.asarray(truth[stream][step], np.float32).tobytes())
        for stream, step, timestamp in zip(sent.streams, sent.steps, sent.timestamps_ms, strict=True)
    ]
    found = [
        Record(key, timestamp, None if value is None else value.bits)
        for key, timestamp, value in zip(seen.keys, seen.timestamps_ms, seen.values, strict=True)
    ]
    return compare(wanted, found)


def tell_verdict(verdict: Verdict) -> str:
    """The counts in a line."""
    return (
        f"{verdict.records_in:,} records in, {verdict.outputs:,} outputs: {verdict.lost} lost,"
        f" {verdict.doubled} doubled, {verdict.out_of_order} out of order, {verdict.different} with other bits,"
        f" {verdict.unknown} unknown"
    )


def commands(settings: DemoSettings, folder: DemoFolder, place: Place) -> tuple[tuple[str, str], ...]:
    """What to type to do it oneself: what it does, and the line."""
    producing = ["produce", str(folder.rows), "--topic", place.input, "--broker", place.broker, "--rate", "320"]
    if not place.is_embedded:
        producing += ["--client", place.client]
    return (
        ("train an RNN", shown(train_command(settings, folder.run))),
        ("make it a step graph, proved against PyTorch", shown(export_command(folder))),
        ("prove it again, without PyTorch", shown(verify_command(folder))),
        ("look inside", shown(["inspect", str(folder.bundle)])),
        ("serve streams; kill -9 it when you like", shown(run_command(place, folder.bundle, folder.state))),
        ("feed it from another terminal", shown(producing)),
        ("the same outputs from a file, no broker", shown(["replay", str(folder.bundle), str(folder.rows), "-o", "-"])),
    )
