"""Two workers on two cores beside one, with models so large that the broker is not the limit."""

from __future__ import annotations

from tests.benchmarks.site import Site, ratio_of
from tests.benchmarks.workload import Workload

LARGER, LARGE = ("lstm1024", 45_000), ("lstm512", 150_000)
"""Models and how many events: five to eight seconds. In two, half a second of joining and of small first batches was a
fifth of it. One worker with the smaller model leaves an eighth of the machine to the broker and to the clients' threads, so
that two cannot do more than 1.66 times as much; it is told beside."""

ONE, TWO, THREADED = "ours confluent --threads 1", "ours confluent --workers 2", "ours confluent"


def workers(site: Site) -> None:
    """2-layer LSTMs of 1,024 and of 512. Without flags one worker takes both cores, too: that is told beside."""
    larger, large = (
        site.compare(f"workers, {model}", [ONE, TWO, THREADED], model, Workload(4000, events))
        for model, events in (LARGER, LARGE)
    )
    threaded, smaller = ratio_of(larger, THREADED, ONE), ratio_of(large, TWO, ONE)
    note = f"one with two threads: {threaded:.2f}; two workers with half as wide a model: {smaller:.2f}"
    site.reached("two workers: of one with a thread", ratio_of(larger, TWO, ONE), 1.5, note=note)
