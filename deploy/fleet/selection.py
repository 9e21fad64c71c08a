"""Which devices, and in which order: selectors, sizes, waves. Pure and deterministic."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, zip_longest

from deploy.fleet.inventory import Device, Fleet
from edge_rnn.contract.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)(%?)")


def select(fleet: Fleet, to: Sequence[str]) -> tuple[Device, ...]:
    """Devices that any of the selectors names: a device's name, or ``label=value,label=value`` (all of them).

    ``arch`` and ``accelerator`` count as labels. No selector: every device. Raises `UsageError` where
    one names nothing, as that is more often a slip than meant.
    """
    if not to:
        return fleet.device
    chosen: set[str] = set()
    for selector in to:
        found = {device.name for device in fleet.device if matches(device, selector)}
        if not found:
            known = sorted({f"{name}={value}" for device in fleet.device for name, value in labels_of(device).items()})
            raise UsageError(f"--to {selector!r} selects no device; labels are {', '.join(known[:12])}")
        chosen |= found
    return tuple(device for device in fleet.device if device.name in chosen)


def labels_of(device: Device) -> dict[str, str]:
    """A device's labels, its architecture and accelerator among them."""
    return {"arch": device.arch, "accelerator": device.accelerator, **device.labels}


def matches(device: Device, selector: str) -> bool:
    """Whether one selector names this device."""
    if "=" not in selector:
        return device.name == selector
    labels = labels_of(device)
    pairs = [part.partition("=") for part in selector.split(",")]
    return all(labels.get(name.strip()) == value.strip() for name, _, value in pairs)


def count_of(size: str, of: int, where: str, *, at_least: int = 1) -> int:
    """Devices of ``"5%"`` (rounded up) or ``"3"``, at most ``of``. Raises `UsageError` naming ``where``."""
    found = _SIZE.fullmatch(size.strip())
    if not found or (not found[2] and "." in found[1]):
        raise UsageError(f"{where} is {size!r}, expected a share such as 5% or a number of devices")
    value = float(found[1])
    if found[2] and value > 100:
        raise UsageError(f"{where} is {size!r}, expected at most 100%")
    return min(of, max(at_least, math.ceil(round(of * value / 100, 9)) if found[2] else int(value)))


def waves_of(devices: Sequence[Device], canary: str, sizes: Sequence[str]) -> tuple[tuple[Device, ...], ...]:
    """Cut devices into waves: the canary, then each of ``sizes`` (of all devices, those before included), then the rest.

    Every device is in exactly one wave. The order takes one device of each kind (architecture and
    accelerator) in turn, so that a canary of n holds up to n kinds.
    """
    total = len(devices)
    if not total:
        return ()
    ends = [count_of(canary, total, "--canary")]
    for size in sizes:
        ends.append(max(ends[-1], count_of(size, total, "rollout.waves")))
    ends.append(total)
    order = by_turns(devices)
    starts = [0, *ends]
    cut = [tuple(order[start:end]) for start, end in zip(starts, ends, strict=False)]
    return tuple(wave for wave in cut if wave)


def by_turns(devices: Sequence[Device]) -> list[Device]:
    """One device of each kind in turn, kinds and devices in the inventory's order."""
    kinds: dict[tuple[str, str], list[Device]] = defaultdict(list)
    for device in devices:
        kinds[device.arch, device.accelerator].append(device)
    return [device for device in chain.from_iterable(zip_longest(*kinds.values())) if device is not None]
