"""What the rendered manifests have in common: settings without secrets, and where things lie in the container."""

from __future__ import annotations

from typing import Any

from deploy.fleet.inventory import Fleet
from deploy.fleet.settings import STATE, run_settings
from deploy.release.release import ImageRef, Release, image_name
from edge_rnn.contract.errors import UsageError

CONFIG = "/etc/edge-rnn"
STOP_S = 45


def image_of(fleet: Fleet, release: Release) -> tuple[ImageRef, str]:
    """The first image of the release that holds its bundle, and its reference by digest."""
    if fleet.app.repository is None:
        raise UsageError("app.repository is not given; other orchestrators pull images from there")
    for image in release.images:
        if image.holds_bundle:
            return image, image_name(fleet.app.repository, image)
    raise UsageError("no image of the release holds its bundle; build without --without-bundle")


def settings_of(fleet: Fleet) -> dict[str, Any]:
    """Settings of a member, without what differs between members and without secrets."""
    device = fleet.device[0]
    settings = run_settings(fleet.app, device, fleet.app.metrics_port)
    settings["http"] = f"0.0.0.0:{fleet.app.metrics_port}"
    settings["state-dir"] = STATE
    settings.pop("instance", None)
    return settings


def brokers(settings: dict[str, Any]) -> list[str]:
    """``HOST:PORT`` of each broker. Raises `UsageError` for the embedded one, which is a file of one device."""
    broker = str(settings.get("broker", "localhost:9092"))
    if broker.startswith("sqlite:"):
        raise UsageError("run.broker is a file of one device; an orchestrator needs Kafka")
    return [one.strip() for one in broker.split(",")]
