"""``ci/peers``: build the image of the programs that we are compared with, and its SIF.

It has dask-jobqueue's ``SLURMRunner``, dask-mpi and ``dask worker`` on the layers of
our own image, and not our package: with the same Debian, Python, MPI and Dask, only the
programs differ.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from docker.errors import ImageNotFound

from containers.base_image import archive, build
from containers.engine import ensure, locked, say
from images.docker_image import build_image
from images.sif import build_sif
from images.table import Row, rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    import docker
    from docker.models.images import Image

CONTEXT = Path(__file__).parent / "peers_context"


@dataclass(frozen=True, slots=True)
class PeersRow(Row):
    """The image as a row like those of ``images/images.toml``; it is not published."""

    @property
    def tag(self) -> str:
        """The Docker image's name."""
        return f"dask-runner-peers:{self.mpi}"

    @property
    def sif(self) -> str:
        """The SIF's file name."""
        return "peers.sif"


def ensure_peers(client: docker.DockerClient) -> Path:
    """Return ``build/peers.sif``; make it if it is not there or its base has changed.

    The base is our image as the engine has it, so that peers can be measured beside an
    image from a registry. It is built only if the engine has none.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    """
    base = next(row for row in rows().values() if row.default)
    row = PeersRow("peers", base.mpi, base.source, base.version)
    return build_sif(client, _image(client, base, row), row)


def _image(client: docker.DockerClient, base: Row, row: Row) -> Image:
    try:
        client.images.get(base.tag)
    except ImageNotFound:
        build_image(client, base)
    context = archive(
        {path.name: path.read_bytes() for path in CONTEXT.iterdir() if path.is_file()}
    )
    with locked("image-peers"):
        say(f"building {row.tag}")
        return build(client, context, row.tag, buildargs={"BASE": base.tag})


def main(argv: Sequence[str]) -> int:
    """Make the SIF of the peers."""
    argparse.ArgumentParser(
        prog="ci/peers",
        description="Make build/peers.sif: dask-jobqueue, dask-mpi and `dask worker` "
        "on the layers of our own image.",
    ).parse_args(argv)
    say(f"{ensure_peers(ensure())} is ready")
    return 0
