"""Data files that come inside an installed package, found without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from edge_rnn.contract.errors import MissingDependency


def packaged_file(package: str, *parts: str) -> Path:
    """The path of a file inside ``package``, whose own imports (seconds, for aeon) are not run.

    Raises `MissingDependency` when the package is not installed or lacks the file.
    """
    spec = importlib.util.find_spec(package)
    found = Path(spec.origin).parent.joinpath(*parts) if spec and spec.origin else None
    if found is None or not found.is_file():
        what = f"lacks {'/'.join(parts)}" if found else "is not installed"
        raise MissingDependency(
            f"the package {package!r}, which holds this recipe's data, {what};"
            " install it: pip install 'edge-rnn[recipes]'"
        )
    return found
