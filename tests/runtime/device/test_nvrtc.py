"""Kernels compiled for each GPU that we name, by the compiler that a GPU's own library uses; it needs no driver."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.engines.kernel_check import check_moves
from runtime.engines.kernel_moves import KernelMoves
from tests.runtime.device.compiled import HostKernel, needs_compiler
from tests.runtime.device.signatures import LSTM, MIXED

ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 110, 120, 121)
"""From Turing to Blackwell, Jetson's among them."""


@cache
def nvrtc() -> ctypes.CDLL:
    """The library that torch brings along. Skips where there is none; in CI there has to be one."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]
    found = sorted(path for folder in folders for path in folder.glob("*/lib/libnvrtc.so.*"))
    if not found:
        if os.environ.get("CI"):
            pytest.fail("NVRTC is needed to compile the kernels; torch for CUDA brings it")
        pytest.skip("no NVRTC: torch for CUDA brings it")
    for built_in in found[0].parent.glob("libnvrtc-builtins.so.*"):  # which it finds by its name once it is loaded
        ctypes.CDLL(str(built_in))
    return ctypes.CDLL(str(found[0]))


@cache
def sources() -> dict[str, str]:
    """What an LSTM of 2 x 512 and a model of many types need, by name."""
    needs_compiler()
    found: dict[str, str] = {}

    for what, signature in (("lstm", LSTM), ("mixed", MIXED)):

        def compiler(source: str, name: str, what: str = what) -> HostKernel:
            found[f"{what}: {name} {len(found)}"] = source
            return HostKernel(source, name)

        check_moves(KernelMoves(np, compiler), signature, np)
    return found


def text_of(program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    assert getattr(nvrtc(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
    room = ctypes.create_string_buffer(size.value)
    assert getattr(nvrtc(), f"nvrtcGet{what}")(program, room) == 0
    return room.raw[: size.value].rstrip(b"\0").decode(errors="replace")


def compile_for(source: str, architecture: str, what: str) -> tuple[int, str, str]:
    """The compiler's status, what it says, and what it made: ``CUBIN`` or ``PTX``."""
    library, program = nvrtc(), ctypes.c_void_p()
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"k.cu", 0, None, None) == 0
    options: Any = (ctypes.c_char_p * 1)(f"--gpu-architecture={architecture}".encode())
    try:
        status = library.nvrtcCompileProgram(program, 1, options)
        return status, text_of(program, "ProgramLog"), text_of(program, what) if status == 0 else ""
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def supported() -> set[int]:
    count = ctypes.c_int()
    assert nvrtc().nvrtcGetNumSupportedArchs(ctypes.byref(count)) == 0
    found = (ctypes.c_int * count.value)()
    assert nvrtc().nvrtcGetSupportedArchs(found) == 0
    return set(found)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_for_a_gpu_without_a_warning(architecture: int) -> None:
    if architecture not in supported():
        pytest.skip(f"this NVRTC does not compile for sm_{architecture}, only for {sorted(supported())}")
    for name, source in sources().items():
        status, told, made = compile_for(source, f"sm_{architecture}", "CUBIN")
        assert (status, told) == (0, ""), f"{name}: {told}"
        assert "ELF" in made[:8]


def test_kernel_that_is_wrong_is_not_compiled() -> None:
    status, told, _ = compile_for(next(iter(sources().values())).replace("stream", "nothing", 1), "sm_90", "CUBIN")
    assert status != 0
    assert "error" in told


def test_states_of_an_lstm_are_read_and_written_16_bytes_at_once() -> None:
    """Each word is one instruction: what `alignas` of a word is for."""
    for name in ("lstm: move_rows 0", "lstm: settle_rows 2"):
        status, told, made = compile_for(sources()[name], "compute_90", "PTX")
        assert status == 0, told
        widths = {width for width in re.findall(r"(?:ld|st)\.global(?:\.nc)?\.([.\w]+)", made)}
        assert widths & {"v2.u64", "v2.b64", "v4.u32", "v4.b32"}
        narrow = {width for width in widths if width.endswith(("8", "16"))}
        assert narrow <= ({"u8", "b8"} if "settle" in name else set())  # the flags of a row
