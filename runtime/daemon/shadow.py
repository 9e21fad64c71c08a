"""A shadow of a group: what it compares with, and what it reports."""

from __future__ import annotations

import logging
import time

from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.signature import Manifest
from runtime.codecs.outputs import make_output_reader
from runtime.core.comparison import Comparison
from runtime.daemon.settings import RunSettings
from runtime.observe.metrics import Metrics
from runtime.transports.connect import open_observer
from runtime.transports.protocol import MemberSettings
from runtime.transports.shadow import ShadowTransport

log = logging.getLogger("edge_rnn.daemon")

Report = dict[str, float | int | str | None]


def open_shadow(settings: RunSettings, member: MemberSettings, manifest: Manifest) -> ShadowTransport:
    """The transport of a shadow. Raises `UsageError`, `MissingDependency`."""
    if not settings.shadow_tolerance > 0:
        raise UsageError(f"--shadow-tolerance is {settings.shadow_tolerance}, expected more than 0")
    comparison = Comparison(
        make_output_reader(settings.encoder, manifest),
        classes=manifest.outputs[0].labels is not None,
        tolerance=settings.shadow_tolerance,
    )
    return ShadowTransport(open_observer(member), comparison)


class ShadowReport:
    """What a shadow has seen so far, for ``/shadow`` and for the end."""

    def __init__(self, shadow: ShadowTransport, group: str, model: str, metrics: Metrics) -> None:
        self._shadow = shadow
        self._group = group
        self._model = model
        self._metrics = metrics
        self._began = time.monotonic()

    def __call__(self) -> Report:
        """Counts and shares of `Comparison.report`, with the rate and the time of a step."""
        seconds = time.monotonic() - self._began
        records, steps, model_s = self._metrics.work()
        return {
            "group": self._group,
            "model": self._model,
            "seconds": round(seconds, 3),
            "records": records,
            "records_per_second": records / seconds if seconds else None,
            "step_seconds": model_s / steps if steps else None,
            "lag": sum(self._metrics.lag.values()),
            **self._shadow.comparison.report(),
        }
