"""Bytecode for all that a device's Python imports: a root file system that is read-only keeps none by itself.

Slim bases bring Python's own library as source alone, so that each start would compile it anew. What
lies beside our packages is compiled in the build context; what the base lacks goes into a layer of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.images.base import Base, base_files
from deploy.images.engine import Engine

LEFT_OUT = re.compile(r"(test|tests|idlelib|lib2to3|turtledemo|tkinter|ensurepip|pydoc_data|distutils)/")
"""Folders of Python's library that no daemon imports."""

SOURCE_ALONE = r"/tests/|/onnxruntime/(transformers|tools|quantization)/|/pygments/(lexers|styles)/"
"""Of packages: what no daemon imports, half of all there is."""


def compile_here(folders: Sequence[Path], python: tuple[int, int], home: Path | None = None) -> bool:
    """Compile bytecode that is never checked against its source, if this Python can; whether it could.

    Bytecode tells which strings its writer had in use, and sets lie in the order of their hashes. So a new process
    with a fixed seed writes it, and this Python's version gives the same bytes each time. ``home`` is where the
    folders will lie, for tracebacks; without it their own names are.
    """
    if python != sys.version_info[:2]:
        return False
    for folder in folders:
        place = ["-s", str(folder.parent)] if home is None else ["-s", str(folder), "-p", str(home)]
        words = ["-m", "compileall", "-qq", "--invalidation-mode", "unchecked-hash", "-x", SOURCE_ALONE, *place]
        subprocess.run(
            [sys.executable, "-P", "-s", "-S", *words, str(folder)],
            env={"PYTHONHASHSEED": "0"},
            check=False,  # what does not compile is not for this Python, and runs nowhere
            timeout=600,
        )
    return True


def stage_library(engine: Engine, base: Base, to: Path) -> bool:
    """Write the bytecode of the base's own library into ``to``, if it brings none; whether there is any.

    ``to`` is as it is to lie in ``base.library``: ``__pycache__`` folders alone. The sources are those of the base.
    """
    if base.has_bytecode or base.python != sys.version_info[:2]:
        return False
    inside = f"{base.library}/"
    for name, data in base_files(engine, base.reference, lambda name: _wanted(name, inside)):
        path = to / name.removeprefix(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if not to.exists():
        return False
    compile_here([to], base.python, Path("/") / base.library)
    for path in sorted(to.rglob("*"), reverse=True):
        if path.suffix == ".py":
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    if not any(to.iterdir()):
        shutil.rmtree(to)
        return False
    return True


def _wanted(name: str, inside: str) -> bool:
    return name.startswith(inside) and name.endswith(".py") and not LEFT_OUT.match(name.removeprefix(inside))
