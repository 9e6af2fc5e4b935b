"""``images/build WHAT [ROW]``: the program behind ``make image``, ``make sif``, etc."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from containers.engine import ensure, say
from containers.entry import ROOT
from images.docker_image import build_derived, build_image
from images.sif import FOLDER, build_sif
from images.sizes import sizes, table
from images.table import row, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import docker
    from docker.models.images import Image

    from images.table import Row

#: Variables that change a row, and the column that each changes.
VARIABLES = {
    "MPI_VERSION": "version",
    "MPI_SOURCE": "source",
    "MPI_URL": "url",
    "MPI_SHA256": "sha256",
    "MPI_CONFIGURE": "configure",
}


def main(argv: Sequence[str]) -> int:
    """Build the image of a row, and do with it what the command line says."""
    default = next(row.name for row in rows().values() if row.default)
    parser = argparse.ArgumentParser(
        prog="images/build",
        description="Build a Docker image of images/images.toml, and its SIF (sif), "
        "or both of every row (all), or say what is in it (size, sbom); publish both "
        "(push), or fetch what was published (pull); or make all files of a release, "
        "and publish them if REGISTRY is set (release).",
        epilog=f"From the environment: {', '.join(VARIABLES)}, and "
        "REQUIREMENTS, a file of more Python packages for an image of your own.",
    )
    parser.add_argument("what", choices=(*WHAT, "pull"))
    parser.add_argument(
        "row", nargs="?", help=f"of images.toml; by default {default}, or every one"
    )
    options = parser.parse_args(argv)

    changes = {column: os.environ.get(name, "") for name, column in VARIABLES.items()}
    every = options.what in ALL and not options.row
    wanted = (
        list(rows().values()) if every else [row(options.row or default, **changes)]
    )
    client = ensure()
    if options.what == "pull":
        _pull(client, wanted[0])
        return 0
    for one in wanted:
        image = _image(client, one)
        if requirements := os.environ.get("REQUIREMENTS"):
            path = Path(requirements)
            one = one.derived(path.stem)  # noqa: PLW2901 - from here on it is this
            image = build_derived(client, image, one, path)
        WHAT[options.what](client, image, one)
    if options.what == "release":
        _seal(client)
    return 0


def _image(client: docker.DockerClient, wanted: Row) -> Image:
    start = time.monotonic()
    image = build_image(client, wanted)
    size = image.attrs["Size"] / 1e6
    seconds = time.monotonic() - start
    say(f"{wanted.tag} is {image.short_id}: {size:.0f} MB, {seconds:.0f} s")
    return image


def _sif(client: docker.DockerClient, image: Image, wanted: Row) -> None:
    say(f"{build_sif(client, image, wanted)} is ready")


def _size(client: docker.DockerClient, image: Image, wanted: Row) -> None:
    sys.stdout.write(table(sizes(client, image), FOLDER / wanted.sif) + "\n")


def _sbom(client: docker.DockerClient, image: Image, wanted: Row) -> None:
    # Imported here: only this needs the library.
    from images.sbom import sbom  # noqa: PLC0415

    FOLDER.mkdir(exist_ok=True)
    file = (FOLDER / wanted.sif).with_suffix(".cdx.json")
    file.write_text(sbom(client, image, wanted) + "\n")
    say(f"{file} lists what is in {wanted.tag}")


def _push(client: docker.DockerClient, image: Image, wanted: Row) -> None:
    from images.release import make, publish  # noqa: PLC0415 - needs cryptography

    key = os.environ.get("SIGN_KEY")
    made = make(client, image, wanted, Path(key) if key else None)
    pushed = publish(client, made, os.environ)
    # For people who pin digests.
    record = made.sif.with_suffix(".pushed.json")
    record.write_text(json.dumps(pushed, indent=2) + "\n")


def _release(client: docker.DockerClient, image: Image, wanted: Row) -> None:
    from images.release import make, publish, put  # noqa: PLC0415

    key = os.environ.get("SIGN_KEY")
    made = make(client, image, wanted, Path(key) if key else None)
    put(made, ROOT / "dist")
    if os.environ.get("REGISTRY"):
        publish(client, made, os.environ)


def _seal(client: docker.DockerClient) -> None:
    from images.release import seal  # noqa: PLC0415

    key = os.environ.get("SIGN_KEY")
    seal(client, ROOT / "dist", Path(key) if key else None)


def _pull(client: docker.DockerClient, wanted: Row) -> None:
    from images import registry  # noqa: PLC0415

    source = registry.Registry.of(os.environ)
    FOLDER.mkdir(exist_ok=True)
    sif = FOLDER / wanted.sif
    key = os.environ.get("VERIFY_KEY")
    image = registry.pull(
        client,
        source,
        wanted,
        sif,
        tag=os.environ.get("TAG", ""),
        key=Path(key) if key else None,
    )
    say(f"{wanted.tag} is {image.short_id}, {sif} is its SIF")


WHAT: dict[str, Callable[[docker.DockerClient, Image, Row], None]] = {
    "image": lambda *_: None,
    "sif": _sif,
    "all": _sif,
    "size": _size,
    "sbom": _sbom,
    "push": _push,
    "release": _release,
}
#: Those that are for every row.
ALL = ("all", "release")
