"""What processes use, read from ``/proc``: processor time and memory of a process and all below it."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """The process and its descendants, those that are still there."""
    found, ahead = [], [pid]
    while ahead:
        process = ahead.pop()
        try:
            for children in Path(f"/proc/{process}/task").glob("*/children"):
                ahead += [int(child) for child in children.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append(process)
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its descendants and those it waited for; 0.0 when it is gone."""
    total = 0
    for process in family(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(ticks) for ticks in fields[11:15])  # utime, stime, cutime, cstime: proc(5)
    return total / TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Memory resident of a process and its descendants; pages that they share count for each."""
    total = 0
    for process in family(pid):
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))
    return total
