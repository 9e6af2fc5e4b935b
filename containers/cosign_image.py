"""The image that has cosign, which signs images in registries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from containers.tool_image import ensure_tool_image

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

REPOSITORY = "dask-runner-cosign"
CONTEXT = Path(__file__).parent / "cosign"


def ensure_cosign_image(client: docker.DockerClient) -> Image:
    """Return the image of this checkout; build it if it is not there."""
    return ensure_tool_image(client, REPOSITORY, CONTEXT)
