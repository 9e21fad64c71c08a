"""What tests of images and devices stand on: root file systems from Debian's packages, imported as images.

``python -m tests.deploy.containers`` (make containers) installs the programs and makes the images:

* ``localhost/edge-rnn-test/base:ARCH``: a pruned Debian 12 with Python, for amd64 and arm64. Its packages are
  only unpacked, so no emulation is needed to make the second.
* ``localhost/edge-rnn-test/device``: a device: Debian 12 with systemd, sshd, sudo and podman 4.3.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.daemon.processes import wait_for
from tests.kafka.broker import free_port

PROGRAMS = [
    *("podman", "runc", "crun", "skopeo", "mmdebstrap", "docker-registry", "openssh-client", "openssl", "sudo"),
    *("busybox-static", "file", "prometheus"),
]
BASE_PACKAGES = [
    *("base-files", "base-passwd", "netbase", "tzdata", "ca-certificates", "dash", "coreutils", "libc6", "python3"),
    *("python3-minimal", "python3.11-minimal", "libpython3-stdlib", "libpython3.11-stdlib", "libstdc++6", "libgcc-s1"),
]
DEVICE_PACKAGES = [
    *("systemd-sysv", "dbus", "openssh-server", "sudo", "podman", "crun", "openssl", "ca-certificates", "procps"),
    *("iproute2", "uidmap", "netavark", "aardvark-dns", "bash", "mawk"),
]
PRUNED = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"]
NAME = "localhost/edge-rnn-test"
BASE = f"{NAME}/base"
DEVICE = f"{NAME}/device"
ULIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
PODMAN = ["podman", "--cgroup-manager=cgroupfs"]

CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "crun"
events_logger = "file"
"""


def call(*words: str | Path, **options: object) -> str:
    """Run a program; what it printed. Fails with what it said."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, (
        f"{' '.join(str(word) for word in words)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )
    return str(done.stdout)


def missing() -> str | None:
    """Why tests with containers cannot run; ``None``: they can."""
    if os.geteuid():
        return "tests with containers need root"
    for program in ("podman", "skopeo", "docker-registry", "ssh"):
        if shutil.which(program) is None:
            return f"{program} is not installed; run make containers"
    for program in (QEMU, QUADLET, *SCHEMAS):
        if not program.exists():
            return f"there is no {program}; run make containers"
    for image in MAKE:
        if not _is_image(image):
            return f"there is no image {image}; run make containers"
    return None


CACHE = Path(os.environ.get("EDGE_RNN_CONTAINER_CACHE", Path(__file__).parents[2] / ".cache" / "containers"))
QEMU = CACHE / "usr/bin/qemu-aarch64"
QUADLET = CACHE / "usr/libexec/podman/quadlet"
"""Two programs of Debian 13: qemu 7.2 of Debian 12 cannot load ONNX Runtime for arm64, and podman 4.3 has no quadlets."""


def fetch_newer() -> None:
    """Only these packages, without what they depend on: both programs are asked for what needs none of it."""
    with tempfile.TemporaryDirectory() as folder:
        sources = Path(folder) / "sources.list"
        sources.write_text(mirror().replace("bookworm", "trixie") + "\n")
        places = {"State": folder, "State::status": "/dev/null", "Cache": folder, "Etc::sourcelist": sources}
        options = [f"-o=Dir::{name}={place}" for name, place in {**places, "Etc::sourceparts": "-"}.items()]
        call("apt-get", *options, "-o=APT::Sandbox::User=root", "update", "-qq", cwd=folder)
        call("apt-get", *options, "-o=APT::Sandbox::User=root", "download", "-qq", "qemu-user", "podman", cwd=folder)
        CACHE.mkdir(parents=True, exist_ok=True)
        for package in Path(folder).glob("*.deb"):
            call("dpkg-deb", "--extract", package, Path(folder) / "root")
        for program in (QEMU, QUADLET):
            program.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(folder) / "root" / program.relative_to(CACHE), program)


SCHEMAS = {
    CACHE / "compose-spec.json": ("github.com/compose-spec/compose-go/v2@v2.4.7", "schema/compose-spec.json"),
    CACHE / "scaledobjects.yaml": (
        "github.com/kedacore/keda/v2@v2.16.0",
        "config/crd/bases/keda.sh_scaledobjects.yaml",
    ),
}
"""What validates rendered manifests, out of the Go modules of Compose and of KEDA themselves."""


def fetch_schemas() -> None:
    for path, (module, place) in SCHEMAS.items():
        if not path.exists():
            found = json.loads(call("go", "mod", "download", "-json", module, cwd="/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(found["Dir"]) / place, path)


def mirror() -> str:
    """The line of apt's sources for this machine's own mirror of Debian 12."""
    indextargets = call("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages")
    uris = [line.split()[0] for line in indextargets.splitlines() if line.split()[-1] == "bookworm"]
    assert uris, "apt knows no mirror of Debian 12 (bookworm)"
    return f"deb {uris[0]} bookworm main"


def make_base(arch: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        call(
            *("mmdebstrap", "--quiet", "--variant=extract", f"--architectures={arch}"),
            f"--include={','.join(BASE_PACKAGES)}",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            *(f"--dpkgopt=path-exclude={path}" for path in PRUNED),
            *("bookworm", archive, mirror()),
            env={**os.environ, "SOURCE_DATE_EPOCH": "0"},
        )
        platform = {"amd64": "linux/amd64", "arm64": "linux/arm64"}[arch]
        call(
            "podman", "import", "--quiet", f"--os={platform.split('/')[0]}", f"--arch={arch}", archive, f"{BASE}:{arch}"
        )


def make_device() -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive, conf = Path(folder) / "device.tar", Path(folder) / "containers.conf"
        conf.write_text(CONTAINERS_CONF)
        call(
            *("mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(DEVICE_PACKAGES)}"),
            *(f"--dpkgopt=path-exclude={path}" for path in PRUNED),
            f"--customize-hook=copy-in {conf} /etc/containers",
            "--customize-hook=chroot $1 useradd --create-home --shell /bin/bash edge",
            "--customize-hook=echo 'edge ALL=(ALL) NOPASSWD: ALL' >$1/etc/sudoers.d/edge",
            "--customize-hook=rm -f $1/etc/ssh/ssh_host_*",
            *("bookworm", archive, mirror()),
        )
        call("podman", "import", "--quiet", archive, DEVICE)


MAKE = {f"{BASE}:amd64": partial(make_base, "amd64"), f"{BASE}:arm64": partial(make_base, "arm64"), DEVICE: make_device}
"""How each image is made that the tests stand on."""


def _is_image(name: str) -> bool:
    return subprocess.run(["podman", "image", "exists", name], check=False).returncode == 0


def main() -> int:
    """Install what is missing and make the images that are missing."""
    if any(shutil.which(name) is None for name in ("podman", "mmdebstrap", "skopeo", "docker-registry", "promtool")):
        call("apt-get", "update", "-qq")
        call(
            *("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PROGRAMS),
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    there = [lambda: QEMU.exists() and QUADLET.exists(), *(partial(_is_image, name) for name in MAKE)]
    work = [fetch_newer, *MAKE.values()]
    with ThreadPoolExecutor(len(work)) as pool:
        made = [pool.submit(fetch_schemas)]
        made += [pool.submit(make) for is_there, make in zip(there, work, strict=True) if not is_there()]
        for each in made:
            each.result()
    print(missing() or "ready")
    return 0


class Registry:
    """Debian's docker-registry on a free port of the loopback interface; its data go when it is closed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        config = folder / "registry.json"
        config.write_text(
            json.dumps(
                {
                    "version": "0.1",
                    "log": {"accesslog": {"disabled": False}},
                    "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
                    "http": {"addr": f"127.0.0.1:{self.port}"},
                }
            )
        )
        self.log = folder / "registry.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
        wait_for(self._answers, f"the registry: {self.log.read_text()[-500:]}", deadline_s=30)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    @property
    def repository(self) -> str:
        return f"127.0.0.1:{self.port}/edge/activity"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


if __name__ == "__main__":
    sys.exit(main())
