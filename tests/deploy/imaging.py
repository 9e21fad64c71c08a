"""Images built, pushed and run as a stranger would: read-only, without rights, not as root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from deploy.fleet.settings import STATE, to_toml
from deploy.images.build import BUILT, Build, Wanted, build_images
from deploy.images.engine import Engine
from deploy.remote.layout import Layout
from deploy.remote.units import Service as Unit
from deploy.remote.units import container_options
from edge_rnn.contract.bundle import Bundle
from tests.daemon.processes import wait_for
from tests.deploy.containers import BASE, PODMAN, QEMU, ULIMITS, call

MB = 1_000_000
EMULATOR = "/usr/bin/qemu-aarch64"


def build(engine: Engine, bundle: Bundle, folder: Path, arches: Sequence[str], **changes: object) -> Build:
    """Images on the bases of `containers`, noted in ``folder`` as the command does."""
    bases = [f"{BASE}:{arch}" for arch in arches]
    wanted = Wanted(app="activity", target="cpu", arches=arches, bases=bases, keep_plan=folder, **changes)  # type: ignore[arg-type]
    made = build_images(engine, bundle, wanted)
    folder.mkdir(exist_ok=True)
    (folder / BUILT).write_bytes(msgspec.json.encode(made))
    return made


def run_image(
    image: str, *words: str, options: Sequence[str] = (), entry: Sequence[str] = (), timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    """One command in a new container without a network."""
    return subprocess.run(
        [
            *(*PODMAN, "run", "--rm", "--runtime", "runc", "--network", "none", *ULIMITS, "--read-only"),
            *("--cap-drop", "ALL", "--tmpfs", "/tmp", *options, *entry, image, *words),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def run_arm64(image: str, *words: str) -> subprocess.CompletedProcess[str]:
    """``edge-rnn`` with these words, all of it emulated."""
    return run_image(
        image,
        *("/usr/bin/python3", "-m", "edge_rnn.cli", *words),
        options=("--volume", f"{QEMU}:{EMULATOR}:ro", "--arch", "arm64"),
        entry=("--entrypoint", EMULATOR),
        timeout_s=280,
    )


class ServiceContainer:
    """A daemon in a container as its unit starts it: the same user, mounts and rights, on this host's network."""

    def __init__(self, image: str, folder: Path, settings: Mapping[str, object], port: int) -> None:
        """``settings`` of its TOML file; where its states and its HTTP port are is added."""
        self.port = port
        self.unit = Unit(
            Layout(f"activity{os.getpid()}", str(folder)), slot="a", image=image, engine="podman", port=port
        )
        layout = self.unit.layout
        slot = Path(layout.slot("a"))
        slot.mkdir(parents=True)
        where = {"state-dir": STATE, "http": f"127.0.0.1:{port}"}
        (slot / "config.toml").write_text(to_toml({**settings, **where}))
        self.state = Path(layout.state)
        self.state.mkdir()
        os.chown(self.state, 65532, 65532)
        self.log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return self.unit.name

    def start(self) -> None:
        options = container_options(self.unit)
        for name in ("--memory", "--health-cmd", "--health-interval", "--health-start-period"):
            at = options.index(name)  # this host may have neither systemd nor cgroups of its own
            del options[at : at + 2]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*PODMAN, "run", "--rm", "--name", self.name, "--pull", "never", "--runtime", "runc", *ULIMITS),
                    *(*options, self.unit.image, "run", "/bundle", "--config", "/etc/edge-rnn/config.toml"),
                ],
                stdout=log,
                stderr=log,
            )

    def stop(self) -> int:
        """As the unit does; returns the daemon's exit status."""
        assert self._process is not None
        call("podman", "stop", "--time", "30", self.name)
        return self._process.wait(60)

    def kill(self) -> None:
        assert self._process is not None
        call("podman", "kill", "--signal", "KILL", self.name)
        self._process.wait(60)

    def ask(self, path: str) -> subprocess.CompletedProcess[str]:
        """What the unit's health check runs."""
        words = ["podman", "exec", self.name, "python3", "-m", "deploy.device.http", "GET", str(self.port), path]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    def wait_ready(self) -> None:
        wait_for(lambda: self.ask("/readyz").returncode == 0, lambda: self.log.read_text()[-2000:])

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            subprocess.run([*PODMAN, "rm", "--force", "--time", "0", self.name], capture_output=True, check=False)
            self._process.wait(60)
