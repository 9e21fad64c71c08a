"""The units that ``deploy up`` installs, for who installs them otherwise: a quadlet and a service, slot a."""

from __future__ import annotations

from deploy.fleet.inventory import Fleet
from deploy.release.release import Release
from deploy.remote.layout import QUADLETS, UNITS, Layout
from deploy.remote.units import Service, quadlet_text, service_text
from deploy.render.settings import image_of


def units(fleet: Fleet, release: Release) -> str:
    """Both texts, each under a comment with its path; use one of them."""
    image, reference = image_of(fleet, release)
    service = Service(
        layout=Layout(fleet.app.name, fleet.device[0].root),
        slot="a",
        image=reference,
        engine="podman",
        port=fleet.app.metrics_port,
        memory=fleet.app.memory,
        signed=fleet.app.key is not None,
        accelerator=image.target,
    )
    return (
        f"# podman 4.4 or newer: {QUADLETS}/{service.name}.container\n{quadlet_text(service)}\n"
        f"# podman 3.4 to 4.3: {UNITS}/{service.name}.service\n{service_text(service)}"
    )
