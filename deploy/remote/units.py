"""The daemon as a systemd service: a quadlet where podman generates services itself, else a ``.service``.

Both slots' services are enabled. ``ExecCondition`` lets only the slot that ``active`` names start,
or one that shadows; the marker of a shadow lies in ``/run``, so after a power cut exactly the
slot that was promoted last comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from deploy.remote.layout import CONTAINER_USER, Layout, Slot

STOP_S = 30
"""How long a daemon may drain and commit, in seconds."""

HEALTH_PROGRAM = "deploy.device.http"


@dataclass(frozen=True)
class Service:
    """All that a unit's text depends on.

    ``image`` is a reference by digest; ``bundle`` the directory of one pulled alone, ``None``: the
    image holds it.
    """

    layout: Layout
    slot: Slot
    image: str
    engine: Literal["podman", "docker"]
    port: int
    memory: str = "512m"
    bundle: str | None = None
    signed: bool = False
    accelerator: Literal["cpu", "cuda", "jetson"] = "cpu"
    engine_path: str = ""

    @property
    def name(self) -> str:
        """Of the container and of the unit."""
        return self.layout.unit(self.slot)

    @property
    def program(self) -> str:
        """Absolute path of podman or docker."""
        return self.engine_path or f"/usr/bin/{self.engine}"


def systemd_quote(word: str) -> str:
    r"""One word of an ``Exec`` line: in double quotes, with ``\``, ``"``, ``%`` and ``$`` escaped."""
    if not word.isprintable():
        raise ValueError(f"{word!r} cannot stand in a unit: it holds a character that is not printable")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if escaped and all(char.isalnum() or char in "/-_.:=@,+" for char in escaped) else f'"{escaped}"'


def line(*words: str) -> str:
    """Words as an ``Exec`` line."""
    return " ".join(systemd_quote(word) for word in words)


def mounts(service: Service) -> list[str]:
    """``--volume`` values: configuration and bundle read-only, the state directory writable."""
    layout = service.layout
    found = [f"{layout.slot(service.slot)}:/etc/edge-rnn:ro", f"{layout.state}:/var/lib/edge-rnn:rw"]
    if service.bundle is not None:
        found.append(f"{service.bundle}:/bundle:ro")
    return found


def health_command(port: int) -> str:
    """What tells whether the daemon's loop turns; set at run, as OCI images carry no health check."""
    return f"python3 -m {HEALTH_PROGRAM} GET {port} /healthz"


def container_options(service: Service) -> list[str]:
    """Options that podman and docker share: no rights, nothing writable but the state directory."""
    user = f"{CONTAINER_USER}:{CONTAINER_USER}"
    options = [
        *("--network", "host", "--user", user, "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--tmpfs", "/tmp:rw,size=64m", "--memory", service.memory),
        *("--log-driver", "none", "--stop-timeout", str(STOP_S)),
        *("--health-cmd", health_command(service.port), "--health-interval", "30s", "--health-start-period", "60s"),
    ]
    options += [word for mount in mounts(service) for word in ("--volume", mount)]
    if service.accelerator == "cuda":
        options += ["--device", "nvidia.com/gpu=all"] if service.engine == "podman" else ["--gpus", "all"]
    if service.accelerator == "jetson":
        options += ["--device", "nvidia.com/gpu=all"] if service.engine == "podman" else ["--runtime", "nvidia"]
    return options


SERVES = "config.toml"
SHADOWS = "shadow.toml"
"""A slot's configurations; the marker of a shadow sets the variable below to the second."""

CONFIG = "EDGE_RNN_CONFIG"


def arguments() -> str:
    """What the image's entry point is told; systemd puts the name of the configuration in."""
    return line("run", "/bundle", "--config") + f" /etc/edge-rnn/${{{CONFIG}}}"


def condition(service: Service) -> str:
    """True for the slot that serves, and for one that shadows."""
    text = '[ "$(readlink "$1")" = "slots/$2" ] || [ -e "$3" ]'
    layout = service.layout
    return line("/bin/sh", "-c", text, "edge-rnn", layout.active, service.slot, layout.marker(service.slot))


def _head(service: Service) -> list[str]:
    return [
        "[Unit]",
        f"Description=edge-rnn {service.layout.app}, slot {service.slot}",
        "Wants=network-online.target",
        "After=network-online.target",
        "StartLimitIntervalSec=0",
    ]


def _life(service: Service) -> list[str]:
    """What a ``.service`` and a quadlet have in common: when to start, what to check, how to go on."""
    layout = service.layout
    lines = [f"ExecCondition={condition(service)}"]
    if service.signed:
        slot = layout.slot(service.slot)
        lines.append(f"ExecStartPre={line('/bin/sh', layout.verifier, slot, layout.key, service.image)}")
    return [
        *lines,
        f"Environment={CONFIG}={SERVES}",
        f"EnvironmentFile=-{layout.marker(service.slot)}",
        "Restart=always",
        "RestartSec=2",
        f"TimeoutStopSec={STOP_S + 15}",
        "TimeoutStartSec=300",
    ]


def service_text(service: Service) -> str:
    """A ``.service`` for podman of any version, or docker."""
    program = service.program
    run = [program, "run", "--rm", "--name", service.name, "--pull", "never", *container_options(service)]
    return "\n".join(
        [
            *_head(service),
            "",
            "[Service]",
            *_life(service),
            f"ExecStartPre=-{line(program, 'rm', '--force', service.name)}",
            f"ExecStart={line(*run, service.image)} {arguments()}",
            f"ExecStop={line(program, 'stop', '--time', str(STOP_S), service.name)}",
            f"ExecStopPost=-{line(program, 'rm', '--force', service.name)}",
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def quadlet_text(service: Service) -> str:
    """A ``.container`` for podman 4.4 or newer, which makes a service of it at boot and on daemon-reload."""
    user = str(CONTAINER_USER)
    lines = [
        "[Container]",
        f"ContainerName={service.name}",
        f"Image={service.image}",
        f"Exec={arguments()}",
        f"User={user}",
        f"Group={user}",
        "Network=host",
        "ReadOnly=true",
        "DropCapability=all",
        "NoNewPrivileges=true",
        "LogDriver=passthrough",
        f"HealthCmd={health_command(service.port)}",
        "HealthInterval=30s",
        "HealthStartPeriod=60s",
        *(f"Volume={mount}" for mount in mounts(service)),
        f"PodmanArgs={line('--pull', 'never', '--tmpfs', '/tmp:rw,size=64m', '--memory', service.memory)}",
        f"PodmanArgs={line('--stop-timeout', str(STOP_S))}",
    ]
    if service.accelerator != "cpu":
        lines.append("AddDevice=nvidia.com/gpu=all")
    return "\n".join(
        [
            *_head(service),
            "",
            *lines,
            "",
            "[Service]",
            *_life(service),
            "",
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )
