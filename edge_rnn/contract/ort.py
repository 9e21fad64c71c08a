"""The one place that imports onnxruntime: telemetry off first, and one line when it is missing."""

from __future__ import annotations

import os
from types import ModuleType

from edge_rnn.contract.errors import MissingDependency


def import_onnxruntime() -> ModuleType:
    """Import onnxruntime with its telemetry off.

    onnxruntime writes a device id on import and looks a host up when a session opens unless
    ``ORT_DISABLE_TELEMETRY`` is set before the import. Raises `MissingDependency`.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            f"onnxruntime cannot be imported ({error}); install one of them:"
            " pip install 'edge-rnn[cpu]' or, with an NVIDIA GPU, pip install 'edge-rnn[gpu]'"
        ) from error
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime  # type: ignore[no-any-return]
