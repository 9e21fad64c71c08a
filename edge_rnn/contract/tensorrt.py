"""TensorRT as it is installed: ``tensorrt``, or TensorRT for RTX, which builds without a GPU."""

from __future__ import annotations

import ctypes
import importlib
from dataclasses import dataclass
from typing import Any

from edge_rnn.contract.errors import MissingDependency, UsageError

MODULES = {"tensorrt_rtx_bindings": "tensorrt_rtx", "tensorrt_rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
"""Modules to try, in order, and the name of the library that each is."""

_NOT_GPUS = ("NONE", "CURRENT")
_BAD = "error: "
_MAJOR, _MINOR = 75, 76
"""The driver's numbers for the two parts of a compute capability."""


@dataclass(frozen=True)
class Library:
    """A module, the ``name`` of the library that it is, and its ``version``."""

    module: Any
    name: str
    version: str

    def gpus(self) -> dict[str, Any]:
        """The GPUs that engines can be built for here, by name: ``sm_89``, and the library's value for it.

        ``tensorrt`` builds for the GPU that is present (its value is ``None``), and for none without one.
        """
        known = getattr(self.module, "ComputeCapability", None)
        if known is None:
            present = present_gpu()
            return {} if present is None else {present: None}
        return {
            name.lower().replace("sm", "sm_"): value
            for name, value in known.__members__.items()
            if name not in _NOT_GPUS
        }

    def check_gpu(self, gpu: str | None) -> str:
        """``gpu`` if engines can be built for it here. Raises `UsageError` with the list of those that can."""
        there = list(self.gpus())
        if gpu in there:
            assert gpu is not None
            return gpu
        listed = ", ".join(there) or "none, for there is no GPU here"
        told = "--target tensorrt needs --gpu" if gpu is None else f"--gpu {gpu} is not among them"
        raise UsageError(
            f"{self.name} {self.version} builds engines for {listed}; {told}: give one of these, or build on the device"
        )


def installed_library() -> Library | None:
    """The first of `MODULES` that can be imported."""
    for module, name in MODULES.items():
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        return Library(found, name, str(found.__version__))
    return None


def find_library() -> Library:
    """The same. Raises `MissingDependency` where there is none."""
    if (found := installed_library()) is not None:
        return found
    raise MissingDependency(
        "--target tensorrt needs TensorRT, which is not installed; to build without a GPU: pip install"
        " 'edge-rnn[rtx]' (tensorrt-rtx-cu13-libs and -bindings); on the device: pip install 'edge-rnn[tensorrt]'"
    )


def logger(module: Any, told: list[str]) -> Any:
    """A logger for the library's objects that keeps each line in ``told``, errors marked."""

    class Log(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            bad = severity in (module.ILogger.Severity.ERROR, module.ILogger.Severity.INTERNAL_ERROR)
            told.append(f"{_BAD}{message}" if bad else message)

    return Log()


def told_error(told: list[str]) -> str:
    """The first error among lines that a `logger` kept."""
    return next(
        (line.removeprefix(_BAD).splitlines()[0][:300] for line in told if line.startswith(_BAD)), "no reason given"
    )


def present_gpu() -> str | None:
    """The first GPU of this machine, e.g. ``sm_89``, as its driver says; ``None`` without a driver or a GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    if driver.cuInit(0):
        return None
    parts = []
    for which in (_MAJOR, _MINOR):
        number = ctypes.c_int()
        if driver.cuDeviceGetAttribute(ctypes.byref(number), which, 0):
            return None
        parts.append(number.value)
    return f"sm_{parts[0]}{parts[1]}"
