"""The command lines in README and docs are run, each block in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = [
    f"deploy {name}" for name in ("build", "push", "up", "status", "pending", "rollback", "logs", "audit", "exec")
]
ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- docs: (run|kafka) -->\n```(?:sh|(python))\n(.*?)```", re.DOTALL)
"""A block to run, of the shell's or Python's; ``kafka``: on a real broker in place of localhost:9092."""

BLOCKS = [
    pytest.param(
        kind,
        f"python - <<'END'\n{text}END\n" if language else text,
        id=f"{page.name}-{number}",
        marks=[pytest.mark.slow, *([pytest.mark.kafka] if kind == "kafka" else [])],
    )
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    for number, (kind, language, text) in enumerate(BLOCK.findall(page.read_text()))
]


@pytest.mark.parametrize(("kind", "text"), BLOCKS)
def test_commands_of_a_page_run_as_they_stand(kind, text, tmp_path, request):
    lines = [line for line in text.splitlines() if not line.startswith("pip install")]
    script = "\n".join(lines)
    if kind == "kafka":
        script = script.replace("localhost:9092", request.getfixturevalue("kafka_broker"))
        script = re.sub(r"^(edge-rnn run )", r"timeout -s TERM 12 \1", script, flags=re.MULTILINE)
    folder = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("timeout -s TERM", "finish")],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "XDG_STATE_HOME": str(tmp_path / "state"),
            # `timeout` ends with 124 when it had to send its signal: the daemon's own status is asked for instead
            "BASH_FUNC_finish%%": '() { timeout --preserve-status -s TERM "$@"; }',
        },
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_pages_named_in_the_readme_exist():
    for name in re.findall(r"\]\(([\w./-]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / name).exists(), name


def test_every_flag_named_in_the_docs_is_one_of_the_command():
    known = ""
    names = ["run", "export", "import", "train", "generate", "replay", "produce", "verify", "inspect", "bench"]
    names += ["doctor", "demo"]
    for name in [*names, "state list", "state show", "state drop", *DEPLOY]:
        help_ = [sys.executable, "-m", "edge_rnn.cli", *name.split(), "--help"]
        known += subprocess.run(
            help_, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"}
        ).stdout
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for flag in re.findall(r"`(--[a-z-]+)", page.read_text()):
            assert flag in known, f"{page.name} names {flag}"
