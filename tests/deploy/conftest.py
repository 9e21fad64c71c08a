"""Fixtures of what needs containers: skipped with the reason where `make containers` was not run, never in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.containers import Registry, missing


@pytest.fixture(scope="session")
def containers() -> None:
    """Podman and the images of `make containers` are there."""
    reason = missing()
    if reason is not None:
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
