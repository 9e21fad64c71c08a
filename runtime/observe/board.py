"""What a small board says of itself: its temperatures, and on a Jetson its power mode and how busy the GPU is.

Read from the kernel's files at each scrape; what a machine does not have is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

LOADS = ("sys/devices/platform/gpu.0/load", "sys/devices/gpu.0/load", "sys/devices/platform/bus@0/17000000.gpu/load")
"""Where the GPU's load is, in thousandths; releases differ."""

_MODEL = re.compile(r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", re.MULTILINE)
_MODE = re.compile(r"pmode:(\d+)")
_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")


@dataclass(frozen=True)
class Board:
    """The files below ``root``, which is ``/`` but in tests."""

    root: Path = Path("/")

    def temperatures(self) -> dict[str, float]:
        """Degrees Celsius by zone; zones of one name are numbered."""
        found: dict[str, float] = {}
        for zone in sorted((self.root / "sys/class/thermal").glob("thermal_zone*")):
            name, milli = _text(zone / "type"), _number(zone / "temp")
            if name and milli is not None:
                found[name if name not in found else f"{name}-{zone.name.removeprefix('thermal_zone')}"] = milli / 1000
        return found

    def jetpack(self) -> tuple[int, str] | None:
        """The major release of L4T and its revision, e.g. ``(36, "4.3")`` of JetPack 6; ``None``: no Jetson."""
        match = _RELEASE.search(_text(self.root / "etc/nv_tegra_release"))
        return None if match is None else (int(match[1]), match[2])

    def power_mode(self) -> str | None:
        """The name of the power mode that is set, e.g. ``MAXN``; its number where it has no name."""
        match = _MODE.search(_text(self.root / "var/lib/nvpmodel/status"))
        if match is None:
            return None
        names: dict[int, str] = {
            int(number): name for number, name in _MODEL.findall(_text(self.root / "etc/nvpmodel.conf"))
        }
        return names.get(int(match[1]), str(int(match[1])))

    def gpu_load(self) -> float | None:
        """The share of time that a Jetson's GPU is busy."""
        thousandths = next((load for path in LOADS if (load := _number(self.root / path)) is not None), None)
        return None if thousandths is None else thousandths / 1000


class BoardCollector(Collector):
    """A board's state as metrics."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What there is now."""
        heat = GaugeMetricFamily("edge_rnn_temperature_celsius", "Of the kernel's thermal zones", labels=["zone"])
        for zone, degrees in self._board.temperatures().items():
            heat.add_metric([zone], degrees)
        yield heat
        if (mode := self._board.power_mode()) is not None:
            power = GaugeMetricFamily("edge_rnn_power_mode", "The power mode of a Jetson that is set", labels=["name"])
            power.add_metric([mode], 1)
            yield power
        if (load := self._board.gpu_load()) is not None:
            yield GaugeMetricFamily("edge_rnn_gpu_load_ratio", "Share of time that a Jetson's GPU is busy", value=load)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None
