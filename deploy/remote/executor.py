"""What carries commands out: the one seam between the rollout and the world."""

from __future__ import annotations

from typing import Protocol

from deploy.fleet.inventory import Device
from deploy.remote.command import Command, Result
from edge_rnn.contract.errors import DeviceFailed


class Executor(Protocol):
    """Carries a command out on a device. Must be usable from several threads at once."""

    def run(self, device: Device, command: Command) -> Result:
        """How the command ended. Raises `DeviceUnreachable` when that is not known."""
        ...


def checked(executor: Executor, device: Device, command: Command) -> Result:
    """Run a command that has to succeed. Raises `DeviceFailed` naming device, command and what it said."""
    result = executor.run(device, command)
    if result.status:
        raise DeviceFailed(f"{device.name}: {command.what} failed with status {result.status}: {result.reason}")
    return result
