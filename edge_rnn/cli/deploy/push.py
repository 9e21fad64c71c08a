"""``edge-rnn deploy push``: images and bundle into a registry, and a release that names them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def command(
    build: Annotated[Path, typer.Argument(help="What deploy build -o wrote.", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="Repository, such as registry.example:5000/edge/activity.")],
    sign: Annotated[Path | None, typer.Option(help="Private key (PEM, P-256) to sign the release with.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain HTTP, for a registry on this machine.")] = False,
    engine: Annotated[str, typer.Option(help="podman, docker or auto.")] = "auto",
) -> None:
    """Push what was built, and write release.json: the digests that devices may run.

    Example: edge-rnn deploy push out --to registry.example:5000/edge/activity --sign release.key

    A registry's login is the engine's own (podman login, docker login).
    """
    from deploy.fleet.fields import REPOSITORY, check_field
    from deploy.images.engine import find_engine
    from deploy.registry.client import login_file
    from deploy.release.push import push_build
    from deploy.release.release import release_id

    check_field(to, REPOSITORY, "--to")
    auth = login_file(os.environ)
    release, path = push_build(find_engine(engine), build, to, key=sign, insecure=insecure, auth=auth)
    for image in release.images:
        print(f"{image.target}/{image.arch}  {image.digest}  {image.bytes / 1e6:.1f} MB")
    print(f"bundle     {release.bundle.artifact}  {release.bundle.bytes / 1e6:.1f} MB")
    print(f"{path}: {release_id(path.read_bytes())}{', signed' if sign else ', not signed'}")
