"""What this CPU can do with 8-bit numbers."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


@functools.cache
def adds_eight_bits() -> bool:
    """Whether sums of products of u8 and s8 keep every bit.

    On x86-64 without VNNI two such products are added in 16 bits, which overflow: ONNX Runtime's
    documentation on quantisation advises 7-bit weights there. Other architectures are not concerned.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    try:
        flags = CPU_INFO.read_text().split()
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags
