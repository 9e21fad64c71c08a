"""The list of an image's parts as CycloneDX 1.6: Python packages, Debian packages, the base, the bundle."""

from __future__ import annotations

import hashlib
import importlib.metadata
import uuid
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from deploy.images.base import Base
from edge_rnn.contract.bundle import Bundle


def write_sbom(to: Path, name: str, version: str, base: Base, site: Path, bundle: Bundle | None) -> int:
    """Write the list; the same bytes for the same parts. Returns how many there are."""
    parts = [*_python(site), *_debian(base), _base(base)]
    if bundle is not None:
        parts.append(_bundle(bundle))
    root = Component(name=name, version=version, type=ComponentType.CONTAINER, bom_ref=f"{name}@{version}")
    known = hashlib.sha256("\n".join(sorted(str(part.bom_ref.value) for part in parts)).encode()).hexdigest()
    bom = Bom(
        components=parts,
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, known),
        metadata=BomMetaData(component=root, timestamp=datetime.fromtimestamp(0, UTC)),
    )
    bom.register_dependency(root, parts)
    to.write_text(JsonV1Dot6(bom).output_as_string(indent=1) + "\n")
    return len(parts)


def _python(site: Path) -> list[Component]:
    found = []
    for distribution in importlib.metadata.distributions(path=[str(site)]):
        name, version = distribution.metadata["Name"].lower().replace("_", "-"), distribution.version
        url = PackageURL("pypi", name=name, version=version)
        found.append(Component(name=name, version=version, purl=url, bom_ref=url.to_string()))
    return found


def _debian(base: Base) -> list[Component]:
    found = []
    for name, version in base.packages:
        url = PackageURL("deb", "debian", name, version, {"arch": base.arch})
        found.append(Component(name=name, version=version, purl=url, bom_ref=url.to_string()))
    return found


def _base(base: Base) -> Component:
    name = base.reference.partition("@")[0]
    return Component(
        name=name,
        version=base.digest,
        type=ComponentType.OPERATING_SYSTEM if not base.system else ComponentType.CONTAINER,
        description=base.system or None,
        bom_ref=f"base:{base.digest}",
    )


def _bundle(bundle: Bundle) -> Component:
    digest = HashType(alg=HashAlgorithm.SHA_256, content=bundle.digest)
    return Component(
        name=bundle.manifest.name,
        version=f"sha256:{bundle.digest}",
        type=ComponentType.MACHINE_LEARNING_MODEL,
        hashes=[digest],
        bom_ref=f"bundle:{bundle.digest}",
    )
