"""Fixtures of what needs containers or namespaces: skipped with the reason where there are none, never in CI."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.images.build import Build
from deploy.images.engine import Engine, find_engine
from deploy.release.push import push_build
from deploy.release.release import Release
from edge_rnn.contract.bundle import Bundle
from tests.deploy.containers import Registry, missing
from tests.deploy.imaging import build
from tests.deploy.simulated import unavailable
from tests.models_for_tests import make_bundle


@pytest.fixture(scope="session")
def containers() -> None:
    """Podman and the images of `make containers` are there."""
    _needed(missing())


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Devices can be simulated: processes in namespaces of their own."""
    _needed(unavailable())


def _needed(reason: str | None) -> None:
    if reason:
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def registry(containers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    yield registry
    registry.close()


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the disks of machines."""
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="session")
def engine(containers: None) -> Engine:
    return find_engine("podman")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """What the images of `built` hold."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "gru", "gru", hidden=32)


@pytest.fixture(scope="session")
def built(engine: Engine, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Path]:
    """Images for amd64 and arm64, and the folder that tells of them."""
    folder = tmp_path_factory.mktemp("built")
    began = time.monotonic()
    made = build(engine, bundle, folder, ["amd64", "arm64"])
    print(f"\nbuilt amd64 and arm64 in {time.monotonic() - began:.1f} s")
    return made, folder


@pytest.fixture(scope="session")
def pushed(engine: Engine, built: tuple[Build, Path], registry: Registry) -> Release:
    """The release of `built`, in the registry."""
    release, _ = push_build(engine, built[1], registry.repository, key=None, insecure=True)
    return release
