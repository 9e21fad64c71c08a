"""``edge-rnn deploy build``: a bundle as images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import msgspec
import typer

from edge_rnn.contract.errors import UsageError


def command(
    bundle: Annotated[Path, typer.Argument(help="The bundle's directory.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to note what was built.")],
    target: Annotated[str, typer.Option(help="cpu, cuda or jetson; the last two are untested plans.")] = "cpu",
    arch: Annotated[str, typer.Option(help="amd64, arm64 or both: amd64,arm64")] = "amd64",
    base: Annotated[
        list[str] | None,
        typer.Option(help="Base image, IMAGE@sha256:... to pin it; repeat for each --arch  [the target's]"),
    ] = None,
    wheel: Annotated[
        list[Path] | None, typer.Option(help="A wheel in place of the locked package of its name; may be repeated.")
    ] = None,
    app: Annotated[str | None, typer.Option(help="Name of the application  [the bundle's]")] = None,
    without_bundle: Annotated[
        bool, typer.Option("--without-bundle", help="The runtime alone: devices pull bundles by themselves.")
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(help="Build no image: a new bundle for those of an earlier build --without-bundle, its -o."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Stage, check and write the plan; build nothing.")] = False,
    engine: Annotated[str, typer.Option(help="podman, docker or auto.")] = "auto",
) -> None:
    """Build images of a bundle: base, packages, our code, the bundle as the last layer.

    Example: edge-rnn deploy build activity.bundle -o out --arch amd64,arm64
    """
    from deploy.fleet.fields import NAME, check_field
    from deploy.images.build import BUILT, Wanted, build_images, on_runtime
    from deploy.images.engine import find_engine
    from deploy.images.targets import TARGETS, Arch
    from deploy.release.push import read_build
    from edge_rnn.contract.bundle import open_bundle

    if target not in TARGETS:
        raise UsageError(f"--target is {target!r}, expected {', '.join(TARGETS)}")
    arches: list[Arch] = []
    known: dict[str, Arch] = {name: name for name in get_args(Arch)}
    for one in arch.split(","):
        if one.strip() not in known:
            raise UsageError(f"--arch is {one!r}, expected {' or '.join(get_args(Arch))}")
        arches.append(known[one.strip()])
    for path in wheel or []:
        if not path.is_file():
            raise UsageError(f"--wheel {path} is no file")
    opened = open_bundle(bundle)
    if runtime is not None:
        output.mkdir(parents=True, exist_ok=True)
        made = on_runtime(read_build(runtime), opened)
        (output / BUILT).write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
        print(f"{opened.manifest.name} for {len(made.images)} images of {runtime}")
        return
    name = check_field(app or opened.manifest.name.lower().replace("_", "-"), NAME, "--app")
    wanted = Wanted(
        app=name,
        target=target,
        arches=arches,
        bases=base or [],
        wheels=wheel or [],
        with_bundle=not without_bundle,
        keep_plan=output,
    )
    output.mkdir(parents=True, exist_ok=True)
    made = build_images(find_engine(engine), opened, wanted, only_plan=plan)
    if not plan:
        (output / BUILT).write_bytes(msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
    for image in made.images:
        notes = f" ({'; '.join(image.notes)})" if image.notes else ""
        what = "plan" if plan else image.id
        print(f"{image.target}/{image.arch}: {what}, base {image.base_digest}, {image.parts} parts{notes}")
