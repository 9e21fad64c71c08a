"""What is built twice is the same, and what a device fetches is no more than it lacks: bytes counted on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from deploy.fleet.inventory import parse_inventory
from deploy.images.build import BUILT, on_runtime
from deploy.registry.artifact import pull_bundle
from deploy.registry.client import Registry
from deploy.release.push import push_build
from deploy.release.ship import load_shipment
from deploy.remote.ssh import SshExecutor
from deploy.rollout.steps import Steps
from edge_rnn.contract.bundle import Bundle
from edge_rnn.contract.errors import RegistryError
from tests.deploy.fleets import site_of
from tests.deploy.imaging import MB, build
from tests.deploy.machines import Machine
from tests.deploy.wires import Wire
from tests.models_for_tests import make_bundle

pytestmark = [pytest.mark.fleet, pytest.mark.slow]


def test_image_is_built_again_to_the_same_digest(engine, built, pushed, registry, bundle, tmp_path):
    again = build(engine, bundle, tmp_path / "again", ["amd64", "arm64"])
    assert [image.id for image in again.images] == [image.id for image in built[0].images]
    release, _ = push_build(engine, tmp_path / "again", registry.repository, key=None, insecure=True)
    assert [image.digest for image in release.images] == [image.digest for image in pushed.images]


@dataclass(frozen=True)
class Shipped:
    """Folders of two releases that differ in the bundle alone, and the bundle's size in bytes."""

    first: Path
    second: Path
    bundle_bytes: int


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The next model: larger, so that it is seen in the bytes."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "gru2", "gru", hidden=512, seed=1)


@pytest.fixture(scope="module")
def full(engine, built, pushed, registry, other, tmp_path_factory) -> Shipped:
    """Images that hold their bundles."""
    second = tmp_path_factory.mktemp("full")
    build(engine, other, second, ["amd64"])
    push_build(engine, second, registry.repository, key=None, insecure=True)
    return Shipped(built[1], second, size_of(other))


@pytest.fixture(scope="module")
def apart(engine, bundle, other, registry, tmp_path_factory) -> Shipped:
    """A runtime, and bundles that travel alone."""
    first, second = tmp_path_factory.mktemp("runtime"), tmp_path_factory.mktemp("next")
    made = build(engine, bundle, first, ["amd64"], with_bundle=False)
    (second / BUILT).write_bytes(msgspec.json.encode(on_runtime(made, other)))
    for folder in (first, second):
        push_build(engine, folder, registry.repository, key=None, insecure=True)
    return Shipped(first, second, size_of(other))


def size_of(bundle: Bundle) -> int:
    return sum((bundle.path / name).stat().st_size for name in {"manifest.json", *bundle.manifest.files})


@pytest.fixture
def machine(disk: Path, request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = Machine(f"w-{request.node.callspec.id}", disk)
    yield machine
    machine.close()


@pytest.mark.parametrize(
    ("kind", "pull"), [("full", "registry"), ("apart", "registry"), ("apart", "ssh")], ids=["image", "artifact", "ssh"]
)
def test_update_of_the_bundle_alone_sends_the_bundle_and_less_than_a_megabyte_more(
    machine, registry, tmp_path, request, kind: Literal["full", "apart"], pull: Literal["registry", "ssh"]
):
    """All that moves to a device for a release: from the registry and over ssh, each through a relay that counts."""
    shipped: Shipped = request.getfixturevalue(kind)
    with Wire(registry.port) as pulled, Wire(machine.port) as told, SshExecutor() as executor:
        port = (
            pulled.port if pull == "registry" else registry.port
        )  # over ssh, it is the operator who asks the registry
        table = machine.table.replace(f"port = {machine.port}", f"port = {told.port}")
        fleet = parse_inventory(
            f'[app]\nname = "activity"\nrepository = "127.0.0.1:{port}/edge/activity"\ninsecure-registry = true\n'
            f'[app.run]\nbroker = "127.0.0.1:1"\ninput = "in"\noutput = "out"\n'
            + table.replace("[device.ssh]", f'pull = "{pull}"\n[device.ssh]')
        )
        steps = Steps(site_of(fleet, executor, tmp_path), fleet.device[0])
        moved = []
        for folder, slot in ((shipped.first, "a"), (shipped.second, "b")):
            before = pulled.both, told.both
            steps.deliver(load_shipment(folder, fleet, fleet.device, None, {}), slot)
            steps.golden(load_shipment(folder, fleet, fleet.device, None, {}))
            moved.append((pulled.both - before[0], told.both - before[1]))
    size = shipped.bundle_bytes
    print(
        f"\n{request.node.callspec.id}: the next bundle is {size / MB:.2f} MB; wire in MB, from the registry and ssh:"
    )
    for name, (from_registry, by_ssh) in zip(("first", "next"), moved, strict=True):
        print(f"  {name} release: {from_registry / MB:.2f} + {by_ssh / MB:.2f}")
    assert sum(moved[0]) <= 160 * MB
    assert 0 < sum(moved[1]) <= size + MB


def test_bundle_pull_goes_on_where_it_was_cut_off_and_takes_nothing_else(registry, pushed, tmp_path):
    client = Registry(registry.repository, insecure=True)
    whole = tmp_path / "whole"
    wire = pull_bundle(client, pushed.bundle.artifact, whole)
    part = tmp_path / "again.part"
    part.mkdir()
    data = (whole / "step.onnx").read_bytes()
    (part / "step.onnx").write_bytes(data[: len(data) // 2])
    assert pull_bundle(client, pushed.bundle.artifact, tmp_path / "again") == wire - len(data) // 2
    assert (tmp_path / "again" / "step.onnx").read_bytes() == data
    seeded = tmp_path / "bundles" / "x"
    seeded.parent.mkdir()
    (seeded.parent / "before").mkdir()
    for file in whole.iterdir():
        (seeded.parent / "before" / file.name).write_bytes(file.read_bytes())
    assert pull_bundle(client, pushed.bundle.artifact, seeded, seed=seeded.parent) < 5000
    bad = tmp_path / "bad.part"
    bad.mkdir()
    (bad / "step.onnx").write_bytes(b"x" * (len(data) // 2))
    with pytest.raises(RegistryError, match="what was fetched is not sha256"):
        pull_bundle(client, pushed.bundle.artifact, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()
    pull_bundle(client, pushed.bundle.artifact, tmp_path / "bad")
    with pytest.raises(RegistryError, match="status 404"):
        pull_bundle(client, f"sha256:{'0' * 64}", tmp_path / "none")
