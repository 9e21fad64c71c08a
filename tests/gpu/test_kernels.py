"""Kernels of ours on a GPU: they compile there, and move rows as plain statements do."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from runtime.engines.cupy_device import kernel_moves
from tests.gpu.engines import rehearsed
from tests.runtime.device.compiled import has_compiler
from tests.runtime.device.signatures import LSTM, MIXED, manifest


@pytest.mark.parametrize("signature", [LSTM, MIXED, manifest()], ids=["lstm", "mixed", "no states"])
def test_kernels_pass_their_check(cupy: Any, signature: Any, caplog: pytest.LogCaptureFixture) -> None:
    if rehearsed() and not has_compiler():
        pytest.skip("no C++ compiler to run the kernels of a GPU here")
    with caplog.at_level(logging.WARNING), cupy.cuda.Stream(non_blocking=True):
        moves = kernel_moves(cupy, signature)
    assert moves is not None, caplog.text
    assert moves.compiled
