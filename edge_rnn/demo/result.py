"""All that a demo found out: what the page, the summary and ``--json`` tell."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from edge_rnn.contract.signature import GateReport
from edge_rnn.demo.compare import Verdict
from edge_rnn.demo.predictions import Predictions
from edge_rnn.demo.records import Seen, Sent
from edge_rnn.demo.settings import Place
from edge_rnn.demo.timeline import Moments, Recovery


@dataclass(frozen=True, slots=True)
class Made:
    """The model: its score on the held-out part after the last step, and the proof of its step graph.

    ``exported`` holds the gates' figures against PyTorch, ``verified`` those from the bundle alone.
    """

    score: float
    baseline: float
    epochs: int
    train_s: float
    graph_bytes: int
    state_bytes: int
    exported: GateReport
    verified: GateReport


@dataclass(frozen=True, slots=True)
class Served:
    """The records of the run and its moments, in seconds since the feed began.

    ``look_s`` is how often the reader looked, in seconds; ``exit_status`` is the daemon's.
    """

    sent: Sent
    seen: Seen
    moments: Moments
    look_s: float
    exit_status: int


@dataclass(frozen=True, slots=True)
class Result:
    """A whole demo. ``commands`` are what a person would type, with what each does."""

    place: Place
    made: Made
    served: Served
    predictions: Predictions
    verdict: Verdict
    recovery: Recovery
    latency_ms: float
    commands: tuple[tuple[str, str], ...]
    total_s: float

    @property
    def recovery_s(self) -> float | None:
        """From the kill to the first output of the new process."""
        first = self.recovery.first_output_s
        return None if first is None else first - self.served.moments.killed_s

    @property
    def caught_up_s(self) -> float | None:
        """From the kill to a backlog as before it."""
        end = self.recovery.caught_up_s
        return None if end is None else end - self.served.moments.killed_s

    def figures(self) -> dict[str, object]:
        """The figures by name, for a script. Durations are in the unit of their name's end."""
        return {
            "accuracy": self.predictions.accuracy,
            "baseline": self.made.baseline,
            **asdict(self.verdict),
            "recovery_s": _rounded(self.recovery_s),
            "caught_up_s": _rounded(self.caught_up_s),
            "streams_restored": self.served.moments.streams_restored,
            "most_backlog": self.recovery.most_backlog,
            "latency_ms": _rounded(self.latency_ms),
            "parity": self.made.exported.parity.max_abs_error,
            "parity_bound": self.made.exported.parity.bound,
            "train_s": _rounded(self.made.train_s),
            "total_s": _rounded(self.total_s),
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
