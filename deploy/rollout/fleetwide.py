"""The same on many devices at once: one that is dead or slow never holds up the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from deploy.fleet.inventory import Device
from edge_rnn.contract.errors import EdgeRnnError

T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What one device gave: a value or an error."""

    device: Device
    value: T | None = None
    error: EdgeRnnError | None = None


def everywhere(devices: Sequence[Device], parallel: int, work: Callable[[Device], T]) -> list[Answer[T]]:
    """Do ``work`` on each device, at most ``parallel`` at once; answers in the devices' order.

    Only errors of ours are answers; anything else is a fault of this program and is raised, once all
    devices are done.
    """

    def one(device: Device) -> Answer[T]:
        try:
            return Answer(device, work(device))
        except EdgeRnnError as error:
            return Answer(device, error=error)

    if not devices:
        return []
    with ThreadPoolExecutor(min(parallel, len(devices)), thread_name_prefix="device") as pool:
        return list(pool.map(one, devices))
