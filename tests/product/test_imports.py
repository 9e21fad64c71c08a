"""A daemon loads neither torch nor onnx, nor a client that it does not use."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
sys.modules["torch"] = sys.modules["onnx"] = None  # an import of either fails
from edge_rnn.cli.main import run
status = run(["run", {bundle!r}, "--input", "none", "--output", "out", "--broker", {broker!r}, "--state-dir", {state!r}])
print(status, sorted(name for name in ("torch", "onnx", "kafka", "confluent_kafka", "matplotlib", "rich", "exporters.export")
                     if sys.modules.get(name)))
"""


def test_running_a_bundle_loads_only_what_it_needs(bundle, embedded, tmp_path):
    code = CODE.format(bundle=str(bundle.path), broker=embedded.url, state=str(tmp_path / "state"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 []\n", done.stderr
    assert "none" in done.stderr
