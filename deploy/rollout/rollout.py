"""A release through a fleet, wave by wave: preflight, canary, barrier, the next wave; a wave that fails goes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from deploy.fleet.inventory import Device
from deploy.fleet.selection import count_of, waves_of
from deploy.rollout.fleetwide import Answer, everywhere
from deploy.rollout.journal import Wanted
from deploy.rollout.outcome import GOOD, Outcome, Report, WaveReport, judge_wave
from deploy.rollout.preflight import Facts, problems
from deploy.rollout.site import Shipment, Site
from deploy.rollout.steps import Steps
from deploy.rollout.update import DeviceUpdate
from edge_rnn.contract.errors import DeviceUnreachable

UNPACKED = 3.5
"""Room that an image takes, compressed layers and their contents, as a multiple of its compressed size."""


@dataclass(frozen=True)
class Ready:
    """The devices that can take a release, and what became of the others already."""

    facts: Mapping[str, Facts]
    outcomes: Mapping[str, Outcome]


def preflight(site: Site, shipment: Shipment, devices: Sequence[Device]) -> Ready:
    """Ask every device at once whether it can take the release. An offline one is pending."""
    facts: dict[str, Facts] = {}
    outcomes: dict[str, Outcome] = {}
    for answer in everywhere(devices, site.fleet.rollout.parallel, lambda device: Steps(site, device).probe(shipment)):
        device, name = answer.device, answer.device.name
        if isinstance(answer.error, DeviceUnreachable):
            outcomes[name] = Outcome(name, "pending", str(answer.error))
        elif answer.value is None:
            outcomes[name] = Outcome(name, "blocked", str(answer.error))
        elif found := _problems(site, shipment, device, answer.value):
            outcomes[name] = Outcome(name, "blocked", f"{name}: {'; '.join(found)}")
        else:
            facts[name] = answer.value
    for outcome in outcomes.values():
        site.say(outcome.state, outcome.device, shipment.id, outcome.reason)
    return Ready(facts, outcomes)


def _problems(site: Site, shipment: Shipment, device: Device, facts: Facts) -> list[str]:
    image, bundle = shipment.release.image_for(device.accelerator, device.arch), shipment.release.bundle
    missing = [0 if facts.image else image.bytes, 0 if facts.image and image.holds_bundle else bundle.bytes]
    return problems(
        device,
        facts,
        site.fleet.rollout,
        now=site.clock.now(),
        need_bytes=int(UNPACKED * sum(missing)),
        key=shipment.key_digest,
    )


def roll_out(site: Site, shipment: Shipment, devices: Sequence[Device], *, canary: str | None = None) -> Report:
    """Bring a release to ``devices``; returns what became of each. Call it within `Journal.held`."""
    policy = site.fleet.rollout
    for where, size in (("--canary", canary or policy.canary), *(("rollout.waves", each) for each in policy.waves)):
        count_of(size, 1, where)
    site.say("begun", release=shipment.id, detail=f"{len(devices)} devices, by {site.who}")
    site.journal.want({}, shipment.path)
    ready = preflight(site, shipment, devices)
    outcomes: dict[str, Outcome] = dict(ready.outcomes)
    note_wanted(site, shipment, outcomes.values())
    able = [device for device in devices if device.name in ready.facts]
    outcomes |= {device.name: Outcome(device.name, "not-reached") for device in able}
    waves: list[WaveReport] = []
    problem = ""
    for number, wave in enumerate(waves_of(able, canary or policy.canary, policy.waves), 1):
        site.say("wave", release=shipment.id, detail=f"{number}: {' '.join(device.name for device in wave)}")
        report = run_wave(site, shipment, wave, ready.facts, number)
        outcomes |= {outcome.device: outcome for outcome in report.outcomes}
        waves.append(report)
        if report.problem:
            moved = any(outcome.moved for outcome in report.outcomes)
            problem = f"wave {number} {'was rolled back' if moved else 'did not pass'}: {report.problem}"
            break
    if problem:
        _withdraw(site, [name for name, outcome in outcomes.items() if not outcome.moved])
    site.say("ended", release=shipment.id, detail=problem)
    return Report(site.rollout, shipment.id, outcomes, tuple(waves), problem)


def run_wave(
    site: Site, shipment: Shipment, wave: Sequence[Device], facts: Mapping[str, Facts], number: int
) -> WaveReport:
    """Update a wave's devices at once, watch them for a while, and take the whole wave back if it does not pass."""
    updates = {device.name: DeviceUpdate(site, shipment, device, facts[device.name]) for device in wave}
    parallel = site.fleet.rollout.parallel
    outcomes = _outcomes(everywhere(wave, parallel, lambda device: updates[device.name].run()))
    try:
        if not judge_wave(outcomes.values(), site.fleet.rollout.lost):
            _bake(site, wave, updates, outcomes)
        problem = judge_wave(outcomes.values(), site.fleet.rollout.lost)
        if problem:
            site.say("rolling back", release=shipment.id, detail=f"wave {number}: {problem}")
            moved = [device for device in wave if outcomes[device.name].moved]
            outcomes |= _outcomes(everywhere(moved, parallel, lambda device: updates[device.name].revert(problem)))
        note_wanted(site, shipment, outcomes.values(), problem)
    finally:
        reached = [device for device in wave if outcomes[device.name].state not in ("pending", "lost")]
        everywhere(reached, parallel, lambda device: updates[device.name].release_lock())
    return WaveReport(number, tuple(outcomes[device.name] for device in wave), problem)


def _bake(
    site: Site, wave: Sequence[Device], updates: Mapping[str, DeviceUpdate], outcomes: dict[str, Outcome]
) -> None:
    """The health barrier: the wave's daemons are looked at again and again until ``bake`` is over."""
    clock, end = site.clock, site.clock.now() + site.fleet.gates.bake_s
    while True:
        last = clock.now() >= end
        watched = [device for device in wave if outcomes[device.name].state == "served"]
        parallel = site.fleet.rollout.parallel
        look = partial(_look, updates, last)
        for answer in everywhere(watched, parallel, look):
            if answer.value is not None:
                outcomes[answer.device.name] = answer.value
        if last or judge_wave(outcomes.values(), site.fleet.rollout.lost):
            return
        clock.sleep(min(5.0, max(site.poll_s, (end - clock.now()) / 4)))


def _look(updates: Mapping[str, DeviceUpdate], last: bool, device: Device) -> Outcome | None:
    return updates[device.name].check(last=last)


def _outcomes(answers: Sequence[Answer[Outcome]]) -> dict[str, Outcome]:
    """By device; `DeviceUpdate` turns every error of ours into an outcome, so an error here is a failure."""
    return {
        answer.device.name: answer.value or Outcome(answer.device.name, "failed", str(answer.error))
        for answer in answers
    }


def note_wanted(site: Site, shipment: Shipment, outcomes: Iterable[Outcome], problem: str = "") -> None:
    """Note what each device is to run: the release, or after a roll-back what it ran before."""
    wanted: dict[str, Wanted] = {}
    for outcome in outcomes:
        name, old = outcome.device, outcome.before
        if not problem and outcome.state in GOOD:
            wanted[name] = Wanted(release=shipment.id)
        elif not problem and outcome.state in ("pending", "lost"):
            wanted[name] = Wanted(release=shipment.id, pending=True, why=outcome.reason)
        elif problem and outcome.state in ("lost", "stuck") and outcome.moved:
            wanted[name] = Wanted(release=old, pending=True, why=outcome.reason)
        elif problem and old:
            wanted[name] = Wanted(release=old)
    site.journal.want(wanted)


def _withdraw(site: Site, devices: Iterable[str]) -> None:
    """A release that was rolled back waits for nobody: devices that had no turn keep what they run."""
    waiting = site.journal.wanted
    site.journal.want(
        {
            name: Wanted(release="", why="its release was rolled back before its turn")
            for name in devices
            if name in waiting and waiting[name].pending
        }
    )
