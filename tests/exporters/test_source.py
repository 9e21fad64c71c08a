from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edge_rnn.contract.errors import ExportRefused, UsageError
from edge_rnn.models import SequenceModel, save
from exporters.source import resolve_source
from tests.exporters import user_modules as user
from tests.exporters.models import Case

FILE = str(Path(user.__file__))
MODULE = user.__name__


def test_resolve_source_of_a_run_gives_its_model(tmp_path: Path) -> None:
    model = Case("lstm", 1, "regression").make()
    save(tmp_path / "my-run", model, recipe="activity")
    source = resolve_source(str(tmp_path / "my-run"))
    assert isinstance(source.module, SequenceModel)
    assert source.name == "my-run"
    assert source.origin == {"run": "my-run", "model": "lstm", "recipe": "activity"}
    with pytest.raises(UsageError, match="leave --args and --weights out"):
        resolve_source(str(tmp_path / "my-run"), arguments="{}")


@pytest.mark.parametrize("place", [FILE, MODULE])
@pytest.mark.parametrize(
    ("name", "arguments", "hidden"),
    [
        ("Tagger", None, 12),
        ("Tagger", '{"hidden": 6}', 6),
        ("make", '["lstm", 9]', 9),
        ("make", None, 4),
        ("made", None, 4),
    ],
)
def test_resolve_source_makes_a_class_calls_a_function_or_takes_an_instance(
    place: str, name: str, arguments: str | None, hidden: int
) -> None:
    source = resolve_source(f"{place}:{name}", arguments=arguments)
    assert next(m.hidden_size for m in source.module.modules() if isinstance(m, nn.RNNBase)) == hidden
    assert source.name == name.lower()
    assert source.origin == {"module": f"{Path(place).name if place == FILE else place}:{name}"}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_resolve_source_loads_weights(tmp_path: Path, suffix: str) -> None:
    state = {name: torch.full_like(value, 0.125) for name, value in user.Tagger().state_dict().items()}
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    source = resolve_source(f"{FILE}:Tagger", weights=path)
    assert all(bool((value == 0.125).all()) for value in source.module.state_dict().values())
    assert source.origin["weights"] == path.name


@pytest.mark.parametrize(
    ("source", "arguments", "error", "told"),
    [
        ("nowhere", None, UsageError, "there is no run 'nowhere'; give a RUN directory"),
        ("nowhere.py:Net", None, UsageError, r"nowhere\.py does not exist"),
        ("no_such_package.net:Net", None, UsageError, "there is no module 'no_such_package'"),
        (f"{FILE}:Netz", None, UsageError, "there is no 'Netz'; it has Tagger, LastStep"),
        (f"{FILE}:number", None, UsageError, "is a int, expected a module"),
        (f"{FILE}:make", '{"kind": 1, "hidden": -1}', ExportRefused, "cannot be made with --args"),
        (f"{FILE}:make", '{"width": 1}', ExportRefused, "TypeError.*width.*; give its arguments as JSON"),
        (f"{FILE}:make", "[1", UsageError, r"--args '\[1' is not JSON"),
        (f"{FILE}:make", "3", UsageError, "expected a JSON object or array"),
        (f"{FILE}:made", "[]", UsageError, "is a module already made"),
        ("json:loads", '["3"]', UsageError, "returned a int, expected a torch.nn.Module"),
    ],
)
def test_resolve_source_when_something_is_missing_says_what_to_give(
    source: str, arguments: str | None, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        resolve_source(source, arguments=arguments)


def test_resolve_source_when_the_users_code_fails_says_how(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_thing\n")
    with pytest.raises(ExportRefused, match=r"broken\.py cannot be loaded: ModuleNotFoundError: .*no_such_thing"):
        resolve_source(f"{tmp_path / 'broken.py'}:Net")
    (tmp_path / "script.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(ExportRefused, match=r"script\.py ends the program when it is loaded \(exit 3\); put what"):
        resolve_source(f"{tmp_path / 'script.py'}:Net")
    (tmp_path / "ends.py").write_text("def net():\n    raise SystemExit(4)\n")
    with pytest.raises(ExportRefused, match=r"ends\.py:net ends the program \(exit 4\) instead of making a module"):
        resolve_source(f"{tmp_path / 'ends.py'}:net")


def test_resolve_source_appends_the_users_folder_and_never_shadows_ours(tmp_path: Path) -> None:
    (tmp_path / "runtime.py").write_text("raise RuntimeError('shadowed')\n")
    (tmp_path / "beside.py").write_text("HIDDEN = 3\n")
    (tmp_path / "exporters.py").write_text(
        "from torch import nn\nimport runtime\nfrom beside import HIDDEN\nnet = nn.GRU(2, HIDDEN)\n"
    )
    before = list(sys.path)
    try:
        source = resolve_source(f"{tmp_path / 'exporters.py'}:net")
        assert isinstance(source.module, nn.GRU)
        assert sys.path == [*before, str(tmp_path)]
    finally:
        sys.path[:] = before
        sys.modules.pop("beside", None)


def test_resolve_source_when_the_weights_are_wrong_says_so(tmp_path: Path) -> None:
    target = f"{FILE}:Tagger"
    with pytest.raises(UsageError, match="do not exist"):
        resolve_source(target, weights=tmp_path / "none.pt")
    (tmp_path / "bad.pt").write_bytes(b"not weights")
    with pytest.raises(UsageError, match=r"bad\.pt cannot be read"):
        resolve_source(target, weights=tmp_path / "bad.pt")
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(UsageError, match=r"bad\.safetensors cannot be read"):
        resolve_source(target, weights=tmp_path / "bad.safetensors")
    torch.save(user.Tagger(), tmp_path / "whole.pt")
    with pytest.raises(
        UsageError,
        match=r"whole\.pt cannot be read: it holds more than tensors.*save module\.state_dict\(\) and nothing else",
    ):
        resolve_source(target, weights=tmp_path / "whole.pt")
    torch.save(user.Tagger(hidden=3).state_dict(), tmp_path / "small.pt")
    with pytest.raises(UsageError, match=r"small\.pt do not fit the module: .*size mismatch"):
        resolve_source(target, weights=tmp_path / "small.pt")
    torch.save({"epoch": 3, "model": user.Tagger().state_dict()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UsageError, match=r"checkpoint\.pt do not fit .*; it holds model: save the state dict in there"):
        resolve_source(target, weights=tmp_path / "checkpoint.pt")
