"""Kernels without a GPU: the very source that is compiled for one, compiled by the system's C++ compiler.

A block's threads are threads of the host with a barrier; blocks follow each other, the last one first. A word that does not lie
at a multiple of its size ends the process: on a GPU it would be an error too.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.core.moves import Moves
from runtime.engines.bound import address
from runtime.engines.kernel_moves import KernelMoves

THREADS = 3
"""Of a block on the host: few, and no power of two, whatever the kernel is launched with."""

BEFORE = """
#include <pthread.h>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct Place { unsigned int x, y, z; };
static thread_local Place threadIdx, blockIdx;
static Place blockDim;
static pthread_barrier_t barrier;
static int any;

[[maybe_unused]] static int __syncthreads_or(int mine) {
    if (mine) __atomic_store_n(&any, 1, __ATOMIC_SEQ_CST);
    pthread_barrier_wait(&barrier);
    const int found = __atomic_load_n(&any, __ATOMIC_SEQ_CST);
    pthread_barrier_wait(&barrier);
    __atomic_store_n(&any, 0, __ATOMIC_SEQ_CST);
    pthread_barrier_wait(&barrier);
    return found;
}
"""

AFTER = """
struct Work { const unsigned long long* args; unsigned int x, y, number; };

template <typename... Types, std::size_t... Numbers>
static void with(void (*kernel)(Types...), const unsigned long long* args, std::index_sequence<Numbers...>) {
    kernel((Types)args[Numbers]...);
}

template <typename... Types>
static void blocks(void (*kernel)(Types...), const Work& work) {
    threadIdx = {work.number, 0, 0};
    for (unsigned int block = work.x * work.y; block-- > 0;) {
        blockIdx = {block % work.x, block / work.x, 0};
        with(kernel, work.args, std::index_sequence_for<Types...>());
        pthread_barrier_wait(&barrier);
    }
}

static void* thread(void* work) {
    blocks(KERNEL, *(const Work*)work);
    return nullptr;
}

extern "C" void launch(unsigned int x, unsigned int y, unsigned int threads, const unsigned long long* args) {
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&one);
    blockDim = {threads, 1, 1};
    pthread_barrier_init(&barrier, nullptr, threads);
    pthread_t ids[256];
    Work works[256];
    for (unsigned int number = 0; number < threads; ++number) works[number] = {args, x, y, number};
    for (unsigned int number = 1; number < threads; ++number) pthread_create(&ids[number], nullptr, thread, &works[number]);
    thread(&works[0]);
    for (unsigned int number = 1; number < threads; ++number) pthread_join(ids[number], nullptr);
    pthread_barrier_destroy(&barrier);
    pthread_mutex_unlock(&one);
}
"""

FLAGS = (
    *("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread", "-fno-strict-aliasing"),
    *("-fsanitize=alignment,signed-integer-overflow", "-fsanitize-undefined-trap-on-error"),
)


def has_compiler() -> bool:
    return shutil.which("c++") is not None


def needs_compiler() -> None:
    """Skip where there is no C++ compiler; in CI there has to be one."""
    if not has_compiler():
        if os.environ.get("CI"):
            pytest.fail("a C++ compiler is needed to run the kernels of a GPU here")
        pytest.skip("no C++ compiler to run the kernels of a GPU here")


FOLDER = Path(__file__).parents[3] / ".cache" / "kernels"
"""Where they are kept, by their source: daemons of a test start again and again."""


@cache
def library(source: str, name: str) -> ctypes.CDLL:
    """The kernel as a library of the host."""
    whole = BEFORE + source + AFTER.replace("KERNEL", name)
    built = FOLDER / f"{hashlib.sha256(repr((whole, FLAGS)).encode()).hexdigest()[:24]}.so"
    if not built.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            text, fresh = Path(folder) / "kernel.cpp", Path(folder) / "kernel.so"
            text.write_text(whole)
            call = ["c++", *FLAGS, "-o", str(fresh), str(text)]
            done = subprocess.run(call, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{done.stderr}\n{source}"
            fresh.replace(built)
    return ctypes.CDLL(str(built))


class HostKernel:
    """A kernel that runs where it is launched; see `runtime.engines.kernel_moves.Kernel`."""

    def __init__(self, source: str, name: str) -> None:
        self.name = name
        self.launches = 0
        self._launch = library(source, name).launch

    def compile(self) -> None:
        """It is; CuPy's kernels are compiled by this."""

    def __call__(self, grid: tuple[int, int], block: tuple[int], args: tuple[Any, ...], /) -> None:
        assert min(grid) > 0
        assert block[0] % 32 == 0
        assert block[0] <= 256
        assert all(isinstance(arg, int | np.integer | np.ndarray) for arg in args)
        self.launches += 1
        given = [address(arg) if isinstance(arg, np.ndarray) else int(arg) for arg in args]
        numbers = (ctypes.c_longlong * len(given))(*given)
        self._launch(grid[0], grid[1], min(THREADS, block[0]), numbers)


def compiled(xp: Any = np) -> Moves:
    """Rows moved by the kernels of a GPU, on the host. Skips where there is no compiler."""
    needs_compiler()
    return KernelMoves(xp, HostKernel)
