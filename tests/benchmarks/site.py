"""Where the cases run: one broker, bundles made once, sizes of the full or the quick form, and what came out."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from tests.benchmarks.measure import Measured, as_json, compare, median_rate
from tests.benchmarks.workload import Workload
from tests.kafka.broker import RunningKafka
from tests.models_for_tests import make_bundle

MODELS: dict[str, dict[str, object]] = {
    "lstm128": {"cell": "lstm", "inputs": 16, "hidden": 128, "layers": 2, "outputs": 1},
    "gru32": {"cell": "gru", "inputs": 3, "hidden": 32, "layers": 1, "outputs": 1},
    "lstm1024": {"cell": "lstm", "inputs": 16, "hidden": 1024, "layers": 2, "outputs": 1},
    "lstm512": {"cell": "lstm", "inputs": 16, "hidden": 512, "layers": 2, "outputs": 1},
}
"""The models, with random weights. ``lstm128`` is the one that the others' figures were measured with."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure with its target. ``quick_target`` is what the quick form asks, which runs beside other things."""

    name: str
    reached: float
    target: float
    better: Literal["more", "less"] = "more"
    unit: str = "x"
    quick_target: float | None = None
    note: str = ""

    def asked(self, quick: bool) -> float:
        """What the form asks."""
        return self.quick_target if quick and self.quick_target is not None else self.target

    def holds(self, quick: bool) -> bool:
        """Whether that is reached."""
        return self.reached >= self.asked(quick) if self.better == "more" else self.reached <= self.asked(quick)


@dataclass
class Site:
    """``ratios`` and ``figures`` (by case) are filled by the cases; ``skipped`` says what could not run, and why."""

    kafka: RunningKafka
    folder: Path
    quick: bool
    rounds: int
    ratios: list[Ratio] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    pace: dict[str, float] = field(default_factory=dict)
    """Figures that later cases need: ``ours`` at 4,000 streams in events/s, and so on."""

    def bundle(self, model: str) -> Path:
        """The directory of one of `MODELS`, made when first asked for."""
        path = self.folder / model
        if not path.exists():
            make_bundle(path, **MODELS[model])  # type: ignore[arg-type]  # its keywords are the model's
        return path

    def events(self, full: int, quick: int) -> int:
        """How many, by the form."""
        return quick if self.quick else full

    def compare(
        self, case: str, names: list[str], model: str, workload: Workload, rounds: int | None = None
    ) -> dict[str, list[Measured]]:
        """Run contestants in turns and keep their figures under ``case``."""
        found = compare(self.kafka, names, self.bundle(model), workload, rounds or self.rounds)
        kept = self.figures.setdefault(case, {})
        assert isinstance(kept, dict)
        kept.update(as_json(found))
        return found

    def reached(self, name: str, value: float, target: float, **more: object) -> None:
        """Note a ratio."""
        self.ratios.append(Ratio(name, round(value, 4), target, **more))  # type: ignore[arg-type]

    def warm_up(self) -> None:
        """Let the broker see transactions and records once: a cold one takes seconds for its first commits."""
        compare(self.kafka, ["pass", "ours confluent"], self.bundle("lstm128"), Workload(4000, 50_000), 1)

    def attempt(self, what: str, work: Callable[[], None]) -> None:
        """Do a part; where it fails, say so and go on, so that one peer's trouble does not cost the whole run."""
        try:
            work()
        except Exception as error:
            self.skipped[what] = f"{type(error).__name__}: {str(error).strip()[-600:]}"
            traceback.print_exc()

    def report(self) -> dict[str, object]:
        """All of it as JSON."""
        return {
            "ratios": [
                {**asdict(ratio), "asked": ratio.asked(self.quick), "holds": ratio.holds(self.quick)}
                for ratio in self.ratios
            ],
            "figures": self.figures,
            "skipped": self.skipped,
        }


def ratio_of(runs: dict[str, list[Measured]], first: str, second: str) -> float:
    """Median rate of the first over that of the second."""
    return median_rate(runs[first]) / median_rate(runs[second])
