"""The image of the Slurm cluster's nodes.

It also has Apptainer and oras, for machines without them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from containers.tool_image import ensure_tool_image

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

REPOSITORY = "dask-runner-slurm"
CONTEXT = Path(__file__).parent / "node"


def ensure_slurm_image(client: docker.DockerClient) -> Image:
    """Return the nodes' image of this checkout; build it if it is not there."""
    return ensure_tool_image(client, REPOSITORY, CONTEXT)
