"""Build plans for devices that are not here: every path, wheel and version in them that can be checked is."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.images.engine import build_words
from deploy.images.plan import Plan, containerfile, locked_versions, problems
from deploy.images.targets import TARGETS
from deploy.release.push import push_words

PINNED = "sha256:" + "1" * 64


def plan(target: str = "cpu", **changes: object) -> Plan:
    spec = TARGETS[target]  # type: ignore[index]
    arch = changes.get("arch", spec.arches[0])
    python = changes.get("python", (3, 11))
    values = {
        "target": spec,
        "arch": arch,
        "base": f"base@{PINNED}",
        "base_digest": PINNED,
        "python": python,
        "cuda_major": {"cpu": None, "cuda": 13, "jetson": 12}[target],
        "locked": locked_versions(spec.lock.read_text(), python, arch),  # type: ignore[arg-type]
        **changes,
    }
    return Plan(**values)  # type: ignore[arg-type]


JETSON_WHEEL = "onnxruntime_gpu-1.23.0-cp311-cp311-linux_aarch64.whl"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (plan(base_digest=""), "has no digest"),
        (plan(python=(3, 10)), "Python 3.10, expected 3.11 or newer"),
        (plan("cuda", arch="arm64"), "cuda is for amd64, not arm64"),
        (plan("cuda", cuda_major=11), "CUDA 11 is in the plan, ONNX Runtime is built for 12 and 13"),
        (plan("cuda", cuda_major=None), "no CUDA is found"),
        (plan("jetson"), "jetson needs --wheel FILE of onnxruntime-gpu"),
        (
            plan("jetson", python=(3, 10), wheels=["onnxruntime_gpu-1.23.0-cp310-cp310-linux_aarch64.whl"]),
            "JetPack 6 is Ubuntu 22.04 with Python 3.10: use a base that adds 3.11",
        ),
        (
            plan("jetson", wheels=["onnxruntime_gpu-1.23.0-cp310-cp310-linux_aarch64.whl"]),
            "is for cp310, the base brings Python 3.11",
        ),
        (
            plan("jetson", wheels=["onnxruntime_gpu-1.23.0-cp311-cp311-manylinux_2_28_x86_64.whl"]),
            "expected aarch64",
        ),
        (plan(wheels=["not a wheel"]), "is no wheel"),
        (plan(locked={}), "does not name onnxruntime"),
    ],
)
def test_plan_that_cannot_hold_is_refused_with_the_reason(made, said):
    assert [problem for problem in problems(made) if said in problem], problems(made)


@pytest.mark.parametrize(
    "made",
    [plan(), plan(arch="arm64"), plan("cuda"), plan("jetson", wheels=[JETSON_WHEEL]), plan(python=(3, 12))],
)
def test_plan_that_may_hold_has_no_problem(made):
    assert problems(made) == []


def test_lock_of_each_target_brings_the_engine_and_its_libraries():
    assert "onnxruntime" in plan().locked
    assert "onnxruntime-gpu" not in plan().locked
    cuda = plan("cuda")
    assert "onnxruntime-gpu" in cuda.locked
    assert "onnxruntime" not in cuda.locked
    assert any(name.startswith("nvidia-cudnn-cu") for name in cuda.locked)
    path = cuda.target.library_path(cuda.cuda_major)
    assert path == "/opt/edge-rnn/site/nvidia/cu13/lib:/opt/edge-rnn/site/nvidia/cudnn/lib"
    assert f'LD_LIBRARY_PATH="{path}"' in containerfile(cuda)


def test_bundle_is_the_last_layer_and_nothing_runs_in_the_build():
    text = containerfile(plan(labels={"a": 'x"$y'}))
    steps = [line.split()[0] for line in text.splitlines()]
    assert text.splitlines()[-1] == "COPY bundle /bundle"
    assert "RUN" not in steps
    assert 'LABEL \\\n    "a"="x\\"\\$y"' in text
    assert "USER 65532:65532" in text
    assert "ORT_DISABLE_TELEMETRY" in text


def test_label_with_a_line_break_is_refused():
    with pytest.raises(ValueError, match="line break"):
        containerfile(plan(labels={"a": "x\nUSER root"}))


@pytest.mark.parametrize("kind", ["podman", "docker"])
def test_builds_have_no_network_no_cache_and_no_time(kind):
    words = build_words(kind, Path("/c"), "arm64", "t", Path("/i"))
    assert words[words.index("--network") + 1] == "none"
    assert "--no-cache" in words
    assert words[words.index("--platform") + 1] == "linux/arm64"
    assert ("--timestamp" in words) or any("rewrite-timestamp" in word for word in words)
    assert push_words(kind, "s", "t", Path("/d"), insecure=False)[0] == "push"
