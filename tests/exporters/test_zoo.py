"""Every kind of the zoo: exported and equal to its module over many steps, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_rnn.contract.errors import ExportRefused
from tests.exporters.zoo.cases import EXPORTED, REFUSED, Kind
from tests.exporters.zoo.trial import export_and_compare


@pytest.mark.parametrize("kind", EXPORTED, ids=lambda kind: kind.name)
def test_zoo_exported_gives_what_the_module_gives(kind: Kind, tmp_path: Path) -> None:
    outcome = export_and_compare(kind, tmp_path / "b")
    assert outcome.error <= 1e-5
    assert outcome.bundle.manifest.states
    assert outcome.bundle.manifest.has_time


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.name)
def test_zoo_refused_names_the_submodule_and_writes_nothing(kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=kind.told) as refused:
        export_and_compare(kind, tmp_path / "b")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []
