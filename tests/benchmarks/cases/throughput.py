"""Events a second beside the peers: many streams, few, skewed, a small model, kafka-python, JSON."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edge_rnn.contract.bundle import open_bundle
from runtime.daemon.measure.model import model_alone
from tests.benchmarks.measure import Measured, as_json, median_rate
from tests.benchmarks.site import Site, ratio_of
from tests.benchmarks.workload import Workload

OURS = "ours confluent"
SYSTEMS = {
    "quix-eos": ("Quix Streams", 40_000, 12.0),
    "flink-eos": ("Flink", 150_000, 4.0),
    "streams-eos": ("Kafka Streams", 100_000, 6.0),
}
"""What each is, how many events it gets, so that none takes minutes, and the target."""

QUICK_EVENTS = 200_000
CORES = 2
"""Of the machine that the targets are for; the ceiling is what so many could do."""


def many_streams(site: Site) -> None:
    """4,000 streams: the loops, ours, and the ceiling, each round with all that it is made of."""
    peers = ["batched"] if site.quick else ["pass", "pass-eos", "batched", "batched-eos"]
    workload = Workload(4000, site.events(600_000, QUICK_EVENTS))
    model: list[float] = []
    measure_model = (lambda: None) if site.quick else (lambda: model.append(model_us(site)))
    runs = _beside(site, "4,000 streams", peers, workload, site.events(2, 1), measure_model)
    site.pace["ours"] = median_rate(runs[OURS])
    site.reached("4,000 streams: of the expert's loop", ratio_of(runs, OURS, "batched"), 1.2, quick_target=0.6)
    if not site.quick:  # it compares a rate with processor time, which other work on the machine does not slow alike
        ceiling(site, runs, statistics.median(model))


def _beside(
    site: Site,
    case: str,
    peers: list[str],
    workload: Workload,
    longer: int,
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[Measured]]:
    """Peers and ours in turns; ours gets ``longer`` times the events, or it would be over while it begins."""
    runs: dict[str, list[Measured]] = {name: [] for name in (*peers, OURS)}
    for _ in range(site.rounds):
        for names, some in ((peers, workload), ([OURS], replace(workload, events=longer * workload.events))):
            for name, found in site.compare(case, names, "lstm128", some, 1).items():
                runs[name] += found
        between()
    site.figures[case] = as_json(runs)
    return runs


def model_us(site: Site) -> float:
    """The model's processor time a step, at the best of some batches, on one thread."""
    bundle = open_bundle(site.bundle("lstm128"))
    return min(found.cpu_us_a_step for found in model_alone(bundle, [(256, 1), (512, 1), (1024, 1)], threads=1))


def ceiling(site: Site, runs: dict[str, list[Measured]], model: float) -> None:
    """Cores over the processor time of an event that is consumed, taken through the model (``model`` us), and produced."""
    passing = statistics.median(run.client_us + run.broker_us for run in runs["pass"])
    rate = CORES / (passing + model) * 1e6
    site.figures["ceiling"] = {
        "pass_us": round(passing, 2),
        "model_us": round(model, 2),
        "events_per_s": round(rate),
        "ours_us": round(statistics.median(run.client_us + run.broker_us for run in runs[OURS]), 2),
    }
    site.reached("4,000 streams: of the ceiling", median_rate(runs[OURS]) / rate, 0.75)


def other_systems(site: Site) -> None:
    """Quix Streams, Flink and Kafka Streams, exactly-once, in turns with ours."""
    ours: list[Measured] = []
    theirs: dict[str, list[Measured]] = {name: [] for name in SYSTEMS}
    for _ in range(site.rounds):
        ours += site.compare("other systems", [OURS], "lstm128", Workload(4000, 600_000), 1)[OURS]
        for name, (what, events, _) in SYSTEMS.items():
            if what in site.skipped:
                continue

            def one(name: str = name, events: int = events) -> None:
                theirs[name] += site.compare("other systems", [name], "lstm128", Workload(4000, events), 1)[name]

            site.attempt(what, one)
    site.figures["other systems"] = as_json({OURS: ours, **{name: runs for name, runs in theirs.items() if runs}})
    for name, (what, _, target) in SYSTEMS.items():
        if theirs[name]:
            site.reached(f"4,000 streams: of {what}", median_rate(ours) / median_rate(theirs[name]), target)


def few_streams(site: Site) -> None:
    """The backlog sits in 4 streams."""
    peers = ["batched"] if site.quick else ["batched", "batched-eos"]
    runs = _beside(site, "4 streams", peers, Workload(4, site.events(240_000, 60_000)), site.events(4, 1))
    site.reached("4 streams: of the expert's loop", ratio_of(runs, OURS, "batched"), 10.0, quick_target=2.0)


def skewed_streams(site: Site) -> None:
    """4,000 streams by Zipf's law."""
    workload = Workload(4000, site.events(300_000, 100_000), "zipf")
    runs = site.compare("Zipf", ["batched", OURS], "lstm128", workload)
    site.reached("Zipf: of the expert's loop", ratio_of(runs, OURS, "batched"), 2.0, quick_target=1.0)
    share = np.bincount(workload.numbers()).max() / workload.events
    site.figures["Zipf's busiest stream"] = round(float(share), 4)


def small_model(site: Site) -> None:
    """A GRU of 32 with 3 features: input and output limit."""
    workload = Workload(4000, site.events(600_000, 150_000), features=3)
    runs = site.compare("small model", ["pass", OURS], "gru32", workload)
    site.reached("small model: of consume and produce", ratio_of(runs, OURS, "pass"), 0.9, quick_target=0.4)


def kafka_python(site: Site) -> None:
    """The client that is pure Python."""
    runs = site.compare(
        "kafka-python", ["batched-kafka-python", "ours kafka-python"], "lstm128", Workload(4000, 120_000)
    )
    reached = ratio_of(runs, "ours kafka-python", "batched-kafka-python")
    site.reached("kafka-python: of its batched loop", reached, 1.3)


def json_codec(site: Site) -> None:
    """JSON in and out beside f32."""
    events = site.events(300_000, QUICK_EVENTS)
    names = {"f32": Workload(4000, events), "json": Workload(4000, events, codec="json")}
    rates: dict[str, list[float]] = {name: [] for name in names}
    if site.quick and "ours" in site.pace:  # just measured over the same topic
        rates["f32"].append(site.pace["ours"])
        del names["f32"]
    for _ in range(site.rounds):
        for name, some in names.items():
            runs = site.compare(f"codec {name}", [OURS], "lstm128", some, 1)
            rates[name].append(median_rate(runs[OURS]))
    site.figures["codecs"] = rates
    site.reached(
        "JSON in and out: of f32",
        statistics.median(rates["json"]) / statistics.median(rates["f32"]),
        0.5,
        quick_target=0.3,
    )
