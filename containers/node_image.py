"""Build the image of the Slurm cluster's nodes, when its inputs have changed.

Its tag is a hash of its inputs: the folder ``containers/node``, the base image and the
mirror. The image also has Apptainer and oras, for machines without them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from docker.errors import ImageNotFound

from containers.base_image import archive, build, ensure_base
from containers.engine import locked, say
from containers.site import Site

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

REPOSITORY = "dask-runner-slurm"
CONTEXT = Path(__file__).parent / "node"


def ensure_slurm_image(client: docker.DockerClient) -> Image:
    """Return the nodes' image of this checkout; build it if it is not there."""
    site = Site.of(os.environ)
    base = ensure_base(client, site)
    context = archive(
        {path.name: path.read_bytes() for path in CONTEXT.iterdir() if path.is_file()}
    )
    inputs = hashlib.sha256(context)
    inputs.update(f"{base.id} {site.mirror}".encode())
    tag = f"{REPOSITORY}:{inputs.hexdigest()[:16]}"
    with locked("slurm-image"):
        try:
            return client.images.get(tag)
        except ImageNotFound:
            say(f"building {tag} (once; a few minutes)")
            mirror = {"DEBIAN_MIRROR": site.mirror}
            return build(client, context, tag, buildargs=mirror)
