"""Inventories and releases for tests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from deploy.fleet.inventory import Fleet, parse_inventory
from deploy.release.release import BundleRef, ImageRef, Release, encode_release, release_id
from deploy.rollout.journal import Journal
from deploy.rollout.site import Shipment, Site
from edge_rnn.contract.errors import UsageError

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGH1WuwKRvWzHt8kkgSFXsuoBHjfOkDxXBYfTtZoGd2F"
APP = """
[app]
name = "activity"
repository = "registry.test:5000/edge"
[app.run]
broker = "{broker}"
input = "sensors"
output = "activity"
[defaults.ssh]
user = "edge"
host-key = "{key}"
"""


def digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def inventory(names: list[str], more: str = "", each: str = "", broker: str = "kafka.test:9092") -> Fleet:
    devices = "".join(f'[[device]]\nname = "{name}"\n{each}\n' for name in names)
    return parse_inventory(APP.format(key=HOST_KEY, broker=broker) + more + devices)


def release_of(name: str, kinds: tuple[tuple[str, str], ...] = (("cpu", "amd64"),), **changes: Any) -> Release:
    images = tuple(
        ImageRef(
            target=target,  # type: ignore[arg-type]
            arch=arch,  # type: ignore[arg-type]
            digest=digest(f"{name}{target}{arch}"),
            config=digest(f"{name}{target}{arch}c"),
            bytes=1000,
        )
        for target, arch in kinds
    )
    bundle = BundleRef(name=name, digest=digest(f"{name}-bundle"), artifact=digest(f"{name}-artifact"), bytes=10)
    return Release(**{"app": "activity", "bundle": bundle, "images": images, "version": "0.1.0", **changes})


def shipment_of(release: Release, folder: Path) -> Shipment:
    data = encode_release(release)
    return Shipment(release, data, release_id(data), folder)


def no_secrets(ref: object, where: str) -> str:
    raise UsageError(f"no secret was expected, {where} is asked for")


def site_of(fleet: Fleet, executor: Any, folder: Path, **changes: Any) -> Site:
    values = {"resolve": no_secrets, "who": "tester@here", "rollout": "r1", "poll_s": 0.02, **changes}
    return Site(fleet, executor, Journal(folder), **values)


def encode(name: str, **changes: Any) -> bytes:
    """The file of a release."""
    return encode_release(release_of(name, **changes))
