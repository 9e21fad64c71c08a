"""Images for amd64 and arm64: built, reproducible, small, run by digest; a new model ships alone."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import msgspec
import pytest

from deploy.images.build import BUILT, Build, Wanted, build_images
from deploy.images.engine import Engine, find_engine
from deploy.registry.artifact import pull_bundle
from deploy.registry.client import Registry
from deploy.release.push import push_build
from deploy.release.release import Release
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import RegistryError
from tests.deploy.containers import BASE, PODMAN, QEMU, ULIMITS, call
from tests.deploy.containers import Registry as RunningRegistry
from tests.models_for_tests import make_bundle

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
MB = 1_000_000


@pytest.fixture(scope="module")
def engine(containers: None) -> Engine:
    return find_engine("podman")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "gru", "gru", hidden=32)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "gru2", "gru", hidden=32, seed=1)


def build(engine: Engine, bundle: Bundle, folder: Path, arches: list[str], **changes: object) -> Build:
    bases = [f"{BASE}:{arch}" for arch in arches]
    wanted = Wanted(app="activity", target="cpu", arches=arches, bases=bases, keep_plan=folder, **changes)  # type: ignore[arg-type]
    made = build_images(engine, bundle, wanted)
    folder.mkdir(exist_ok=True)
    (folder / BUILT).write_bytes(msgspec.json.encode(made))
    return made


@pytest.fixture(scope="module")
def built(engine: Engine, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Path]:
    folder = tmp_path_factory.mktemp("built")
    began = time.monotonic()
    made = build(engine, bundle, folder, ["amd64", "arm64"])
    print(f"\nbuilt amd64 and arm64 in {time.monotonic() - began:.1f} s")
    return made, folder


@pytest.fixture(scope="module")
def pushed(engine: Engine, built: tuple[Build, Path], registry: RunningRegistry) -> Release:
    release, _ = push_build(engine, built[1], registry.repository, key=None, insecure=True)
    return release


def run_image(
    image: str, *words: str, options: tuple[str, ...] = (), entry: tuple[str, ...] = ()
) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            *(*PODMAN, "run", "--rm", "--runtime", "runc", "--network", "none", *ULIMITS, "--read-only"),
            *("--cap-drop", "ALL", "--tmpfs", "/tmp", *options, *entry, image, *words),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_image_for_this_machine_verifies_its_bundle_read_only_and_not_as_root(built):
    image = built[0].images[0]
    done = run_image(image.id, "verify", "/bundle", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "passed"
    who = run_image(image.id, "-c", "import os; print(os.getuid())", entry=("--entrypoint", "python3"))
    assert who.stdout.strip() == "65532"
    denied = run_image(image.id, "-c", "open('/opt/x', 'w')", entry=("--entrypoint", "python3"))
    assert "Read-only file system" in denied.stderr


def test_image_for_arm64_verifies_its_bundle_under_emulation(built):
    image = built[0].images[1]
    qemu = "/usr/bin/qemu-aarch64"
    done = run_image(
        image.id,
        *("/usr/bin/python3", "-m", "edge_rnn.cli", "verify", "/bundle", "--json"),
        options=("--volume", f"{QEMU}:{qemu}:ro", "--arch", "arm64"),
        entry=("--entrypoint", qemu),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "passed"
    assert "aarch64" in json.dumps(report["gates"])


def test_image_sets_no_telemetry_and_names_base_bundle_lock_and_revision(engine, built, bundle):
    for image in built[0].images:
        config = json.loads(engine.call("image", "inspect", image.id).stdout)[0]
        assert "ORT_DISABLE_TELEMETRY=1" in config["Config"]["Env"]
        assert config["Config"]["User"] == "65532:65532"
        labels = config["Labels"]
        assert labels["edge-rnn.bundle"] == f"{bundle.manifest.name}@sha256:{bundle.digest}"
        assert labels["org.opencontainers.image.base.digest"] == image.base_digest
        assert labels["org.opencontainers.image.revision"]
        assert labels["edge-rnn.lock"].startswith("sha256:")
        assert config["Architecture"] == image.arch


def test_list_of_parts_names_the_packages_the_base_and_the_bundle(built, bundle):
    for arch in ("amd64", "arm64"):
        parts = json.loads((built[1] / f"cpu-{arch}" / "sbom.cdx.json").read_text())
        assert (parts["bomFormat"], parts["specVersion"]) == ("CycloneDX", "1.6")
        urls = {part.get("purl", "").partition("@")[0] for part in parts["components"]}
        assert {"pkg:pypi/onnxruntime", "pkg:pypi/numpy", "pkg:pypi/kafka-python"} <= urls
        assert any(part["type"] == "machine-learning-model" for part in parts["components"])
        assert f"bundle:{bundle.digest}" in {part["bom-ref"] for part in parts["components"]}


def test_image_is_built_again_to_the_same_digest(engine, built, pushed, registry, bundle, tmp_path):
    again = build(engine, bundle, tmp_path / "again", ["amd64", "arm64"])
    assert [image.id for image in again.images] == [image.id for image in built[0].images]
    release, _ = push_build(engine, tmp_path / "again", registry.repository, key=None, insecure=True)
    assert [image.digest for image in release.images] == [image.digest for image in pushed.images]


def test_image_is_at_most_160_mb_compressed(pushed):
    for image in pushed.images:
        print(f"\n{image.target}/{image.arch}: {image.bytes / MB:.1f} MB compressed")
        assert image.bytes <= 160 * MB


def written(registry: RunningRegistry, since: int) -> int:
    """Bytes of blobs and manifests that the registry has sent since."""
    total = 0
    for line in registry.log.read_text().splitlines()[since:]:
        if "http.request.method=GET" in line and "http.response.written=" in line:
            total += int(line.split("http.response.written=")[1].split()[0].strip('"'))
    return total


def test_update_of_the_bundle_alone_sends_the_bundle_and_little_more(
    engine, built, pushed, registry, bundle, other, tmp_path
):
    """Once as an image whose other layers are there, once as an artifact."""
    size = sum((other.path / name).stat().st_size for name in ["manifest.json", *other.manifest.files])
    run = tempfile.mkdtemp(prefix="edge-rnn-run-")  # podman takes no more than 50 characters
    storage = ["--root", str(tmp_path / "store"), "--runroot", run, "--storage-driver", "vfs"]

    def pull(digest: str) -> None:
        call("podman", *storage, "pull", "-q", "--tls-verify=false", f"{registry.repository}@{digest}")

    pull(pushed.images[0].digest)
    build(engine, other, tmp_path / "other", ["amd64"])
    release, _ = push_build(engine, tmp_path / "other", registry.repository, key=None, insecure=True)
    before = len(registry.log.read_text().splitlines())
    pull(release.images[0].digest)
    image_wire = written(registry, before)
    target = tmp_path / "bundles" / other.digest
    target.parent.mkdir()
    artifact_wire = pull_bundle(Registry(registry.repository, insecure=True), release.bundle.artifact, target)
    print(f"\nbundle {size / MB:.3f} MB: as image {image_wire / MB:.3f} MB, as artifact {artifact_wire / MB:.3f} MB")
    assert 0 < image_wire <= size + MB
    assert 0 < artifact_wire <= size + MB
    assert (
        pull_bundle(Registry(registry.repository, insecure=True), release.bundle.artifact, target, seed=target.parent)
        < 5000
    )


def test_bundle_pull_goes_on_where_it_was_cut_off_and_takes_nothing_else(registry, pushed, tmp_path, bundle):
    client = Registry(registry.repository, insecure=True)
    whole = tmp_path / "whole"
    wire = pull_bundle(client, pushed.bundle.artifact, whole)
    part = tmp_path / "again.part"
    part.mkdir()
    data = (whole / "step.onnx").read_bytes()
    (part / "step.onnx").write_bytes(data[: len(data) // 2])
    assert pull_bundle(client, pushed.bundle.artifact, tmp_path / "again") == wire - len(data) // 2
    assert (tmp_path / "again" / "step.onnx").read_bytes() == data
    bad = tmp_path / "bad.part"
    bad.mkdir()
    (bad / "step.onnx").write_bytes(b"x" * (len(data) // 2))
    with pytest.raises(RegistryError, match="what was fetched is not sha256"):
        pull_bundle(client, pushed.bundle.artifact, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
    pull_bundle(client, pushed.bundle.artifact, tmp_path / "bad")
    with pytest.raises(RegistryError, match="status 404"):
        pull_bundle(client, f"sha256:{'0' * 64}", tmp_path / "none")


def test_daemon_in_the_container_is_ready_soon(built, tmp_path):
    """The embedded broker: time of the container, Python, the engine and the golden vectors."""
    image = built[0].images[0]
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65532, 65532)
    tmp_path.chmod(0o755)
    name = f"edge-rnn-ready-{os.getpid()}"
    words = [
        *(*PODMAN, "run", "--rm", "--name", name, "--runtime", "runc", "--network", "none", *ULIMITS, "--read-only"),
        *("--cap-drop", "ALL", "--tmpfs", "/tmp", "--volume", f"{state}:/var/lib/edge-rnn:rw", image.id, "run"),
        *(
            "/bundle",
            "--input",
            "in",
            "--output",
            "out",
            "--broker",
            "sqlite:/var/lib/edge-rnn/s.sqlite",
            "--create-topics",
        ),
        *("--state-dir", "/var/lib/edge-rnn", "--http", "127.0.0.1:9464", "--log-format", "json"),
    ]
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        try:
            assert process.stderr is not None
            log = []
            for line in process.stderr:
                log.append(line)
                if "partition ready" in line:
                    break
            seconds.append(time.monotonic() - began)
            assert process.poll() is None, log
        finally:
            call("podman", "stop", "--time", "20", name)
            process.wait(30)
    print(f"\nfrom podman run to serving: {', '.join(f'{one:.2f} s' for one in seconds)}")
    assert min(seconds) < 10
