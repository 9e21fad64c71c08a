"""Fixed seeds: the same seed on the same machine gives the same weights, bit by bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def deterministic(seed: int, *, threads: int = 1) -> Iterator[None]:
    """Seed python, numpy and torch, allow deterministic algorithms only, and use ``threads`` threads.

    One thread is also the fastest for small models. On leaving, the generators, the thread count
    and the switch are as they were before.
    """
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads_before, switch_before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(switch_before)
        torch.set_num_threads(threads_before)
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
