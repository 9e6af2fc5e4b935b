"""Build an image that tools and tests run, when its inputs have changed."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from docker.errors import ImageNotFound

from containers.base_image import archive, build, ensure_base
from containers.engine import locked, say
from containers.site import Site

if TYPE_CHECKING:
    from pathlib import Path

    import docker
    from docker.models.images import Image


def ensure_tool_image(
    client: docker.DockerClient,
    repository: str,
    folder: Path,
    base: Image | None = None,
) -> Image:
    """Return an image of this checkout; build it if it is not there.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    repository : str
        Its name. Its tag is a hash of its inputs: the folder, the base image and the
        mirror.
    folder : pathlib.Path
        With its Dockerfile, which may ask for ``DEBIAN_MIRROR``.
    base : docker.models.images.Image, optional
        What the Dockerfile gets as ``BASE``; it may be Debian's as well.
    """
    site = Site.of(os.environ)
    given = {"DEBIAN_MIRROR": site.mirror}
    if base is None:
        base = ensure_base(client, site)
    else:
        given["BASE"] = base.tags[0]
    context = archive(
        {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    )
    inputs = hashlib.sha256(context)
    inputs.update(f"{base.id} {site.mirror}".encode())
    tag = f"{repository}:{inputs.hexdigest()[:16]}"
    with locked(f"{repository}-image"):
        try:
            return client.images.get(tag)
        except ImageNotFound:
            say(f"building {tag} (once; a few minutes)")
            return build(client, context, tag, buildargs=given)
