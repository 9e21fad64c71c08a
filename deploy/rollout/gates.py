"""When a model is good enough to take over: judged from a shadow's report and from the daemons' metrics. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from deploy.fleet.inventory import Gates
from edge_rnn.contract.errors import DeployError

CLOSE = 0.9
"""Least share of close outputs where there are no classes and the inventory says nothing."""


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """What ``/shadow`` gives; see docs/run.md. Shares are of all compared."""

    compared: int = 0
    records: int = 0
    identical: float | None = None
    close: float | None = None
    same_class: float | None = None
    only_ours: int = 0
    only_theirs: int = 0
    unreadable: int = 0
    dead_letters: int = 0
    lag: int = 0
    step_seconds: float | None = None


@dataclass(frozen=True)
class Measured:
    """What the gates look at in a daemon's metrics. ``step_s``: mean time of a step, ``None`` before the first."""

    records: int = 0
    dead_letters: int = 0
    failed_epochs: int = 0
    lag: int = 0
    step_s: float | None = None


def read_shadow(body: str) -> Shadow:
    """Parse a shadow's report. Raises `DeployError`."""
    try:
        return msgspec.json.decode(body, type=Shadow)
    except msgspec.DecodeError as error:
        raise DeployError(f"/shadow gave no report: {error}; the image may be older than its fleet") from error


def read_metrics(body: str) -> Measured:
    """Parse what ``/metrics`` gives. Raises `DeployError`."""
    values: dict[str, float] = {}
    lag = 0.0
    try:
        for family in text_string_to_metric_families(body):
            for sample in family.samples:
                if sample.name == "edge_rnn_lag_records":
                    lag += sample.value
                elif not sample.labels:
                    values[sample.name] = sample.value
    except ValueError as error:
        raise DeployError(f"/metrics cannot be read: {error}") from error
    steps = values.get("edge_rnn_steps_total", 0.0)
    return Measured(
        records=int(values.get("edge_rnn_records_in_total", 0)),
        dead_letters=int(values.get("edge_rnn_dead_letters_total", 0)),
        failed_epochs=int(values.get("edge_rnn_failed_epochs_total", 0)),
        lag=int(lag),
        step_s=values.get("edge_rnn_call_seconds_sum", 0.0) / steps if steps else None,
    )


def enough(gates: Gates, shadow: Shadow) -> bool:
    """Whether a shadow has seen enough to be judged, or more than enough that is wrong."""
    return shadow.compared >= gates.min_records or _refusals(gates, shadow) != []


def judge_shadow(gates: Gates, shadow: Shadow, old: Measured | None) -> list[str]:
    """Why a shadow must not be promoted; empty: it may. ``old`` is the daemon in place."""
    found = _refusals(gates, shadow)
    if shadow.compared >= max(gates.min_records, 1):
        found += _agreement(gates, shadow)
    elif shadow.compared < gates.min_records and not found:
        found.append(f"only {shadow.compared} outputs were compared within {gates.within}, {gates.min_records} needed")
    found += judge_step(gates, shadow.step_seconds, None if old is None else old.step_s)
    if shadow.lag > gates.max_lag:
        found.append(f"the shadow is {shadow.lag} records behind, at most {gates.max_lag}")
    return found


def _refusals(gates: Gates, shadow: Shadow) -> list[str]:
    found = []
    if shadow.dead_letters > gates.dead_letters:
        found.append(f"the new model refuses {shadow.dead_letters} records (not finite, or unreadable)")
    if shadow.unreadable:
        found.append(f"{shadow.unreadable} outputs have another shape than those in place")
    return found


def _agreement(gates: Gates, shadow: Shadow) -> list[str]:
    found = []
    if shadow.same_class is not None and shadow.same_class < gates.same_class:
        found.append(f"labels are equal in {shadow.same_class:.1%} of outputs, {gates.same_class:.1%} needed")
    close = gates.close if gates.close is not None else (CLOSE if shadow.same_class is None else None)
    if close is not None and (shadow.close or 0.0) < close:
        found.append(f"{shadow.close or 0:.1%} of outputs are within {gates.tolerance:g}, {close:.1%} needed")
    unpaired = shadow.only_ours + shadow.only_theirs
    if unpaired > gates.unpaired * shadow.compared:
        found.append(f"{unpaired} outputs have no counterpart beside {shadow.compared} that have")
    return found


def judge_step(gates: Gates, new_s: float | None, old_s: float | None) -> list[str]:
    """Whether the model is too slow, by itself or beside the one in place."""
    found = []
    if new_s is not None and old_s is not None and new_s > gates.step_ratio * old_s:
        found.append(
            f"a step takes {new_s * 1e6:.0f} us, {new_s / old_s:.1f} times as long, at most {gates.step_ratio:g}"
        )
    if new_s is not None and gates.max_step_s is not None and new_s > gates.max_step_s:
        found.append(f"a step takes {new_s * 1e6:.0f} us, at most {gates.max_step}")
    return found


def judge_daemon(gates: Gates, now: Measured, before: Measured | None) -> list[str]:
    """Why a daemon that took over is no good; ``before`` is the one in place before, as it was last seen."""
    found = judge_step(gates, now.step_s, None if before is None else before.step_s)
    if now.dead_letters > gates.dead_letters:
        found.append(f"the new model refused {now.dead_letters} records")
    if now.lag > gates.max_lag:
        found.append(f"it is {now.lag} records behind, at most {gates.max_lag}")
    return found
