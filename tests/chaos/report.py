"""What a run found: as JSON, and as a table to read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.chaos.inject import Happened
from tests.chaos.members import Exit

COUNTS = ("missing", "doubled", "out_of_order", "wrong", "stray")


@dataclass(frozen=True, slots=True)
class Report:
    """Counts of one run. ``verdict``: what the verifier printed; ``trouble``: what else went wrong in the end."""

    settings: dict[str, Any]
    happened: Sequence[Happened]
    verdict: dict[str, Any]
    exits: Sequence[Exit]
    restarts: int
    longest_gap_s: float
    fed_s: float
    trouble: Sequence[str]
    points: Sequence[str] = ()

    @property
    def fired(self) -> Counter[str]:
        """Faults that happened, by kind; ``points`` tells of those fail points, too, that fired when nobody waited."""
        fired = Counter(kind for each in self.happened for kind in each.kinds)
        for point, count in Counter(self.points).items():
            fired[f"fail-point {point}"] = max(fired[f"fail-point {point}"], count)
        return fired

    @property
    def violations(self) -> int:
        """Outputs and dead letters that are not as they must be."""
        topics = (self.verdict.get(name, {}) for name in ("outputs", "dead_letters"))
        return sum(topic.get(kind, 0) for topic in topics for kind in COUNTS)

    @property
    def passed(self) -> bool:
        """Nothing is wrong, and there was something to be wrong."""
        return not self.violations and not self.trouble and self.verdict.get("outputs", {}).get("found", 0) > 0

    def figures(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "passed": self.passed,
            "violations": self.violations,
            "settings": self.settings,
            "faults": sum(self.fired.values()),
            "faults_by_kind": dict(sorted(self.fired.items())),
            "longest_gap_by_kind_s": self._gaps(),
            "verdict": self.verdict,
            "restarts": self.restarts,
            "longest_gap_s": round(self.longest_gap_s, 2),
            "fed_s": round(self.fed_s, 1),
            "exits": [asdict(each) for each in self.exits],
            "trouble": list(self.trouble),
            "timeline": [asdict(each) for each in self.happened],
        }

    def _gaps(self) -> dict[str, float]:
        gaps: dict[str, float] = {}
        for each in self.happened:
            for kind in each.kinds:
                gaps[kind] = max(gaps.get(kind, 0.0), each.longest_gap_s)
        return dict(sorted(gaps.items()))

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.figures(), indent=1) + "\n")

    def table(self) -> str:
        """Faults, records, violations, and what else there is to know."""
        s = self.settings
        gaps = self._gaps()
        lines = [
            f"chaos: {s['transport']}, nodes {s['nodes']}, members {s['members']}, seed {s['seed']},"
            f" {self.fed_s:.0f} s of input at {s['rate']:g} records/s",
            "",
            f"{'fault':<28}{'count':>7}{'longest gap':>14}",
            *(f"{kind:<28}{count:>7}{gaps.get(kind, 0.0):>12.1f} s" for kind, count in sorted(self.fired.items())),
            f"{'all':<28}{sum(self.fired.values()):>7}{self.longest_gap_s:>12.1f} s",
            "",
            f"{'':<28}{'outputs':>10}{'dead letters':>14}",
        ]
        for name in ("wanted", "found", *COUNTS):
            cells = [self.verdict.get(topic, {}).get(name, "?") for topic in ("outputs", "dead_letters")]
            lines.append(f"{name.replace('_', ' '):<28}{cells[0]:>10}{cells[1]:>14}")
        lines += ["", f"restarts {self.restarts}, ends that nobody asked for {len(self.exits)}"]
        lines += [f"  {e.member} at {e.at_s:.1f} s, status {e.status}: {e.message}" for e in self.exits]
        lines += [f"  fault at {h.at_s:.1f} s, {h.fault.kind}: {h.note}" for h in self.happened if ";" in h.note]
        lines += [f"trouble: {each}" for each in self.trouble]
        for topic in ("outputs", "dead_letters"):
            lines += [f"{topic}: {example}" for example in self.verdict.get(topic, {}).get("examples", [])]
        lines.append("passed" if self.passed else f"FAILED: {self.violations} violations")
        return "\n".join(lines)
