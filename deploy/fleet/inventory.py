"""The fleet in one TOML file: what runs, on which devices, how they are reached. No secret is in it, only references."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from deploy.fleet.fields import (
    DOTTED,
    HOST,
    HOST_KEY,
    HOST_PORT,
    LABEL,
    MEMORY,
    NAME,
    PATH,
    REPOSITORY,
    TOPIC,
    USER,
    VARIABLE,
    check_field,
)
from edge_rnn.contract.errors import UsageError
from edge_rnn.contract.units import parse_duration

Arch = Literal["amd64", "arm64"]
Accelerator = Literal["cpu", "cuda", "jetson"]
Strategy = Literal["promote", "swap", "replace"]
"""``promote``: a shadow is compared and takes over itself. ``swap``: a shadow is compared, then the daemon in place
is stopped and the new one started. ``replace``: the same without a shadow."""
Engine = Literal["auto", "podman", "docker"]


class _Table(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A table of the inventory; its keys are written with hyphens."""


class SecretRef(_Table, frozen=True):
    """Where a secret is found when it is needed: exactly one of an environment variable and a file."""

    env: str | None = None
    file: str | None = None


class App(_Table, frozen=True):
    """What runs on every device of the fleet."""

    name: str
    repository: str | None = None
    """Where images and bundles are pulled from, without scheme; ``None``: all is pushed over ssh."""
    key: str | None = None
    """Public key (PEM, P-256) of releases, relative to the inventory; devices then run nothing else."""
    insecure_registry: bool = False
    """Plain HTTP, for a registry on the loopback interface or behind a tunnel."""
    metrics_host: Literal["127.0.0.1", "0.0.0.0"] = "127.0.0.1"
    """Where ``/metrics`` is served; the second one to the network, for Prometheus."""
    metrics_port: int = 9464
    """Port of slot a; slot b has the next one."""
    memory: str = "512m"
    run: dict[str, Any] = {}
    """Settings of ``edge-rnn run``, under the names of its TOML file."""
    secrets: dict[str, SecretRef] = {}
    """Secrets by the dotted place in ``run`` where each belongs, such as ``kafka.sasl.password``."""


class Ssh(_Table, frozen=True):
    """How a device is reached. The host key is pinned: a device that shows another one is not talked to."""

    host: str | None = None
    port: int = 22
    user: str = "edge"
    host_key: str | None = None
    identity: str | None = None
    jump: str | None = None
    sudo: bool = True


class Device(_Table, frozen=True):
    """One device. ``labels`` are what ``--to`` selects by."""

    name: str
    ssh: Ssh = Ssh()
    arch: Arch = "amd64"
    accelerator: Accelerator = "cpu"
    labels: dict[str, str] = {}
    input: str | None = None
    output: str | None = None
    run: dict[str, Any] = {}
    secrets: dict[str, SecretRef] = {}
    root: str = "/var/lib/edge-rnn"
    engine: Engine = "auto"
    pull: Literal["registry", "ssh"] = "registry"
    metrics_port: int | None = None
    """In place of the application's."""


class Gates(_Table, frozen=True):
    """When a shadow may be promoted, and when a daemon counts as healthy."""

    min_records: int = 1000
    within: str = "10m"
    """How long a shadow may take to compare ``min-records``."""
    same_class: float = 0.98
    """Least share of equal labels, where the outputs are scores of classes."""
    close: float | None = None
    """Least share of outputs within ``tolerance``; default 0.9 where there are no classes, else not looked at."""
    tolerance: float = 0.1
    """How close is close, relative to the largest value; the shadow's ``--shadow-tolerance``."""
    unpaired: float = 0.01
    """Largest share of outputs of one that the other has not."""
    dead_letters: int = 0
    """Most records that the new model refuses."""
    step_ratio: float = 1.5
    """Longest mean time of a step, as a multiple of the old daemon's."""
    max_step: str | None = None
    """Longest mean time of a step, such as ``2ms``."""
    max_lag: int = 10_000
    """Most records that a shadow, or a new daemon at the end of ``bake``, may be behind."""
    ready: str = "60s"
    """How long a daemon may take from its start until it is ready."""
    bake: str = "30s"
    """How long a wave must stay healthy before the next one begins."""

    @property
    def within_s(self) -> float:
        """`within` in seconds."""
        return parse_duration(self.within, "gates.within")

    @property
    def ready_s(self) -> float:
        """`ready` in seconds."""
        return parse_duration(self.ready, "gates.ready")

    @property
    def bake_s(self) -> float:
        """`bake` in seconds."""
        return parse_duration(self.bake, "gates.bake")

    @property
    def max_step_s(self) -> float | None:
        """`max_step` in seconds."""
        return None if self.max_step is None else parse_duration(self.max_step, "gates.max-step")


class RolloutPolicy(_Table, frozen=True):
    """How a release travels through the fleet."""

    strategy: Strategy = "promote"
    canary: str = "5%"
    waves: tuple[str, ...] = ("25%", "100%")
    """Sizes of the waves after the canary, of all devices, each with those before."""
    parallel: int = 32
    lost: str = "20%"
    """How many of a wave may drop out of sight while traffic moves; more roll the wave back."""
    min_free: str = "1GB"
    max_clock_skew: str = "30s"


class Fleet(_Table, frozen=True):
    """The whole inventory."""

    app: App
    device: tuple[Device, ...]
    defaults: dict[str, Any] = {}
    rollout: RolloutPolicy = RolloutPolicy()
    gates: Gates = Gates()

    def named(self, name: str) -> Device:
        """The device of that name. Raises `UsageError`."""
        for device in self.device:
            if device.name == name:
                return device
        raise UsageError(f"the inventory has no device {name!r}; it has {', '.join(d.name for d in self.device[:8])}")


def load_inventory(path: Path) -> Fleet:
    """Read and check an inventory. Raises `UsageError` naming the file, the device and the field."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the inventory {path} cannot be read: {error}; give one with --fleet") from error
    return parse_inventory(text, str(path))


def parse_inventory(text: str, where: str = "the inventory") -> Fleet:
    """Parse TOML into a checked `Fleet`; what ``[defaults]`` says holds for each device that does not say otherwise."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where} is not TOML: {error}") from error
    defaults = raw.get("defaults", {})
    devices = raw.get("device", [])
    if not isinstance(defaults, dict) or not isinstance(devices, list):
        raise UsageError(f"{where}: expected a table [defaults] and tables [[device]]")
    raw["device"] = [merge(defaults, each) if isinstance(each, dict) else each for each in devices]
    try:
        fleet = msgspec.convert(raw, Fleet)
    except msgspec.ValidationError as error:
        raise UsageError(f"{where}: {_place(str(error), raw)}") from error
    check_fleet(fleet, where)
    return fleet


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``; tables are merged, all else is replaced."""
    both = dict(base)
    for name, value in over.items():
        below = both.get(name)
        both[name] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def _place(message: str, raw: dict[str, Any]) -> str:
    """msgspec's message with the device's name in place of its number."""
    what, _, path = message.partition(" - at `$.")
    path = path.rstrip("`")
    if path.startswith("device["):
        number, _, field = path.removeprefix("device[").partition("]")
        if not number.isdigit():
            return f"a [[device]]{field}: {what}"
        device = raw["device"][int(number)]
        name = device.get("name", f"number {int(number) + 1}") if isinstance(device, dict) else number
        return f"device {name}{field}: {what}"
    return f"{path or 'the inventory'}: {what}"


def check_fleet(fleet: Fleet, where: str) -> None:
    """Raise `UsageError` for the first field that is not what `deploy.fleet.fields` allows."""
    app = fleet.app
    check_field(app.name, NAME, f"{where}: app.name")
    if app.repository is not None:
        check_field(app.repository, REPOSITORY, f"{where}: app.repository")
    check_field(app.memory, MEMORY, f"{where}: app.memory")
    if not 1 <= app.metrics_port <= 65534:
        raise UsageError(f"{where}: app.metrics-port is {app.metrics_port}, expected 1 to 65534")
    _check_run(app.run, f"{where}: app.run")
    _check_secrets(app.secrets, f"{where}: app.secrets")
    _ = (fleet.gates.within_s, fleet.gates.ready_s, fleet.gates.bake_s, fleet.gates.max_step_s)
    if fleet.rollout.parallel < 1:
        raise UsageError(f"{where}: rollout.parallel is {fleet.rollout.parallel}, expected at least 1")
    if not fleet.device:
        raise UsageError(f"{where} has no [[device]]; add at least one")
    seen: set[str] = set()
    for device in fleet.device:
        check_device(device, app, where)
        if device.name in seen:
            raise UsageError(f"{where} has two devices named {device.name!r}; names are how members are known")
        seen.add(device.name)


def check_device(device: Device, app: App, where: str) -> None:
    """Raise `UsageError` for the first field of a device that is not allowed."""
    check_field(device.name, NAME, f"{where}: device {device.name!r} name")
    at = f"{where}: device {device.name}"
    ssh = device.ssh
    check_field(ssh.host or device.name, HOST, f"{at} ssh.host")
    check_field(ssh.user, USER, f"{at} ssh.user")
    if not 1 <= ssh.port <= 65535:
        raise UsageError(f"{at} ssh.port is {ssh.port}, expected 1 to 65535")
    if ssh.host_key is None:
        raise UsageError(f"{at} has no ssh.host-key; pin it: ssh-keyscan -t ed25519 {ssh.host or device.name}")
    check_field(ssh.host_key, HOST_KEY, f"{at} ssh.host-key")
    if ssh.jump is not None:
        check_field(ssh.jump, HOST, f"{at} ssh.jump")
    for name, value in device.labels.items():
        check_field(name, LABEL, f"{at} label")
        check_field(value, LABEL, f"{at} label {name}")
    for field, topic in (("input", device.input), ("output", device.output)):
        if topic is None and field not in {**app.run, **device.run}:
            raise UsageError(f"{at} has no {field}; give it on the device, in [defaults] or in [app.run]")
        if topic is not None:
            check_field(topic, TOPIC, f"{at} {field}")
    check_field(device.root, PATH, f"{at} root")
    _check_run(device.run, f"{at} run")
    _check_secrets(device.secrets, f"{at} secrets")
    if device.metrics_port is not None and not 1 <= device.metrics_port <= 65534:
        raise UsageError(f"{at} metrics-port is {device.metrics_port}, expected 1 to 65534")
    if device.pull == "registry" and app.repository is None:
        raise UsageError(f"{at} pulls from a registry, but app.repository is not given; give it or pull = 'ssh'")


OURS = ("http", "state-dir", "instance", "shadow", "shadow-tolerance")
"""What the deployment gives every daemon itself."""

SECRET_NAMES = ("password", "secret", "token", "key.pem", "jaas.config")
"""How the names of those of Kafka's properties end that hold a secret."""


def _check_run(run: dict[str, Any], where: str) -> None:
    for ours in OURS:
        if ours in run or ours.replace("-", "_") in run:
            raise UsageError(f"{where} sets {ours!r}, which the deployment sets itself; leave it out")
    kafka = run.get("kafka", {})
    if not isinstance(kafka, dict):
        raise UsageError(f"{where}.kafka is {kafka!r}, expected a table of client properties")
    for name, value in kafka.items():
        if isinstance(value, dict):
            raise UsageError(f"{where}.kafka.{name} is a table; Kafka's names have dots, so put them in quotes")
        if name.lower().endswith(SECRET_NAMES):
            raise UsageError(
                f'{where}.kafka holds {name!r} itself; refer to it: [app.secrets] "kafka.{name}" = {{ file = "PATH" }}'
            )
    broker = run.get("broker")
    if broker is not None and not str(broker).startswith("sqlite:"):
        for one in str(broker).split(","):
            check_field(one.strip(), HOST_PORT, f"{where}.broker")


def _check_secrets(secrets: dict[str, SecretRef], where: str) -> None:
    for place, ref in secrets.items():
        check_field(place, DOTTED, where)
        if place.replace("_", "-") in OURS:
            raise UsageError(f"{where} sets {place!r}, which the deployment sets itself; leave it out")
        if (ref.env is None) == (ref.file is None):
            raise UsageError(f"{where}.{place} needs one of env = 'NAME' and file = 'PATH'")
        if ref.env is not None:
            check_field(ref.env, VARIABLE, f"{where}.{place}.env")
