"""A build plan: everything an image depends on, as data. The Containerfile is its text; `problems` is its lint."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from deploy.images.targets import CODE, JETPACKS, MACHINE, SBOM, SITE, Arch, TargetSpec
from deploy.remote.layout import CONTAINER_USER

LEAST_PYTHON = (3, 11)
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}|sha256:[0-9a-f]{64}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Plan:
    """What is built. ``wheels``: file names given by hand, which replace those of the lock; ``locked``: name to version.

    ``library``: folder of the base's Python library, whose bytecode is added; empty: the base brings it.
    """

    target: TargetSpec
    arch: Arch
    base: str
    base_digest: str
    python: tuple[int, int]
    cuda_major: int | None
    locked: Mapping[str, str]
    wheels: Sequence[str] = ()
    with_bundle: bool = True
    labels: Mapping[str, str] | None = None
    library: str = ""


def locked_versions(text: str, python: tuple[int, int], arch: str) -> dict[str, str]:
    """Package to version, of a lock's lines that hold for this Python and architecture."""
    environment = {
        "python_version": f"{python[0]}.{python[1]}",
        "python_full_version": f"{python[0]}.{python[1]}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": MACHINE[arch],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.strip().rstrip("\\").strip()
        if not words or words.startswith(("#", "--")):
            continue
        requirement = Requirement(words)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return found


def problems(plan: Plan) -> list[str]:
    """Why this plan cannot give a working image; empty: nothing that can be told without such a device."""
    found = []
    if not _DIGEST.fullmatch(plan.base_digest):
        found.append(f"the base {plan.base} has no digest; give --base IMAGE@sha256:...")
    if plan.arch not in plan.target.arches:
        found.append(f"{plan.target.name} is for {' and '.join(plan.target.arches)}, not {plan.arch}")
    if plan.python < LEAST_PYTHON:
        found.append(
            f"the base brings Python {plan.python[0]}.{plan.python[1]}, expected 3.11 or newer{_jetpack_hint(plan)}"
        )
    names = []
    for wheel in plan.wheels:
        name, problem = _wheel_problem(plan, wheel)
        names.append(name)
        if problem:
            found.append(problem)
    if plan.target.needs_wheel and plan.target.engine not in names:
        found.append(
            f"{plan.target.name} needs --wheel FILE of {plan.target.engine} as NVIDIA builds it for this JetPack"
            f" (aarch64, Python {plan.python[0]}.{plan.python[1]}); the public one has no CUDA on aarch64"
        )
    if plan.target.cuda_majors:
        found += _cuda_problems(plan)
    if not plan.target.needs_wheel and plan.target.engine not in plan.locked and plan.target.engine not in names:
        found.append(f"{plan.target.lock.name} does not name {plan.target.engine}; make it anew: make lock")
    return found


def _jetpack_hint(plan: Plan) -> str:
    if plan.target.name != "jetson":
        return ""
    return "".join(
        f"; JetPack {jetpack.major} is Ubuntu {jetpack.ubuntu} with Python {jetpack.python}: use a base that adds 3.11"
        for jetpack in JETPACKS
        if jetpack.python == f"{plan.python[0]}.{plan.python[1]}"
    )


def _wheel_problem(plan: Plan, wheel: str) -> tuple[str, str]:
    """The distribution of a wheel, and why it cannot go into this image."""
    try:
        name, _, _, tags = parse_wheel_filename(wheel)
    except InvalidWheelFilename as error:
        return "", f"{wheel} is no wheel: {error}"
    python, machine = f"cp{plan.python[0]}{plan.python[1]}", MACHINE[plan.arch]
    interpreters = {tag.interpreter for tag in tags}
    if not {python, "py3", f"py{plan.python[0]}{plan.python[1]}"} & interpreters and not any(
        tag.abi == "abi3" and tag.interpreter.startswith("cp3") and int(tag.interpreter[3:]) <= plan.python[1]
        for tag in tags
    ):
        return name, f"{wheel} is for {', '.join(sorted(interpreters))}, the base brings Python 3.{plan.python[1]}"
    if not any(tag.platform == "any" or tag.platform.endswith(machine) for tag in tags):
        return name, f"{wheel} is for {', '.join(sorted(tag.platform for tag in tags))}, expected {machine}"
    return name, ""


def _cuda_problems(plan: Plan) -> list[str]:
    found = []
    if plan.cuda_major is None:
        found.append("no CUDA is found, neither in the base nor in the lock; the engine would run on the CPU")
    elif plan.cuda_major not in plan.target.cuda_majors:
        known = " and ".join(str(major) for major in plan.target.cuda_majors)
        found.append(f"CUDA {plan.cuda_major} is in the plan, ONNX Runtime is built for {known}")
    if plan.target.name == "cuda":
        majors = {name.rpartition("-cu")[2] for name in plan.locked if re.fullmatch(r"nvidia-.*-cu\d+", name)}
        if len(majors) > 1:
            found.append(f"the lock mixes CUDA {' and '.join(sorted(majors))}")
        if "nvidia-cudnn-cu12" not in plan.locked and "nvidia-cudnn-cu13" not in plan.locked:
            found.append("the lock has no cuDNN, without which ONNX Runtime's CUDA provider does not load")
    return found


def containerfile(plan: Plan) -> str:
    """Layers from what changes least to what changes most: base, packages, our code, the bundle alone."""
    environment = {
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": f"{CODE}:{SITE}",
        "HOME": "/tmp",
    }
    if path := plan.target.library_path(plan.cuda_major):
        environment["LD_LIBRARY_PATH"] = path
    lines = [
        f"FROM {plan.base}",
        *([f"COPY library /{plan.library}"] if plan.library else []),
        f"COPY site {SITE}",
        f"COPY code {CODE}",
        f"COPY sbom.cdx.json {SBOM}",
        _together("ENV", environment),
        *(
            [_together("LABEL", {_quote(name): plan.labels[name] for name in sorted(plan.labels)})]
            if plan.labels
            else []
        ),
        f"USER {CONTAINER_USER}:{CONTAINER_USER}",
        "WORKDIR /",
        'ENTRYPOINT ["python3", "-m", "edge_rnn.cli"]',
        'CMD ["--help"]',
        "STOPSIGNAL SIGTERM",
    ]
    if plan.with_bundle:
        lines.append("COPY bundle /bundle")
    return "\n".join(lines) + "\n"


def _together(what: str, values: Mapping[str, str]) -> str:
    """One instruction for all of them, as each instruction is a step of the build."""
    return " \\\n    ".join([what, *(f"{name}={_quote(value)}" for name, value in values.items())])


def _quote(value: str) -> str:
    if "\n" in value or "\r" in value:
        raise ValueError(f"{value!r} cannot stand in a Containerfile: it holds a line break")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'
