"""A Compose file for one host: the daemon as on a device, without the fleet around it."""

from __future__ import annotations

import yaml

from deploy.fleet.inventory import Fleet
from deploy.fleet.settings import STATE, to_toml
from deploy.release.release import Release
from deploy.remote.layout import CONTAINER_USER
from deploy.remote.units import SERVES, health_command
from deploy.render.settings import CONFIG, STOP_S, image_of, settings_of


def compose(fleet: Fleet, release: Release) -> str:
    """YAML by the Compose specification. Where the inventory has secrets, the configuration is a file made beside."""
    _, reference = image_of(fleet, release)
    name, port = fleet.app.name, fleet.app.metrics_port
    settings = {**settings_of(fleet), "instance": fleet.device[0].name}
    config = {"file": f"./{SERVES}"} if fleet.app.secrets else {"content": to_toml(settings).replace("$", "$$")}
    service = {
        "image": reference,
        "command": ["run", "/bundle", "--config", f"{CONFIG}/{SERVES}"],
        "restart": "always",
        "user": f"{CONTAINER_USER}:{CONTAINER_USER}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp:size=64m"],
        "mem_limit": fleet.app.memory,
        "stop_grace_period": f"{STOP_S}s",
        "configs": [{"source": "settings", "target": f"{CONFIG}/{SERVES}", "uid": str(CONTAINER_USER), "mode": 0o400}],
        "volumes": [{"type": "volume", "source": "state", "target": STATE}],
        "ports": [f"127.0.0.1:{port}:{port}"],
        "healthcheck": {
            "test": ["CMD", *health_command(port).split()],
            "interval": "30s",
            "timeout": "15s",
            "start_period": "60s",
        },
    }
    document = {
        "name": name,
        "services": {name: service},
        "configs": {"settings": config},
        "volumes": {"state": {}},
    }
    return yaml.safe_dump(document, sort_keys=False, width=120)
