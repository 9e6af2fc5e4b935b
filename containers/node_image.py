"""The images of the nodes of clusters in containers.

Slurm's also has Apptainer and oras, for machines without them; those of other batch
systems are made from it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from containers.tool_image import ensure_tool_image

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

REPOSITORY = "dask-runner-slurm"
FOLDERS = Path(__file__).parent
CONTEXT = FOLDERS / "node"


def ensure_slurm_image(client: docker.DockerClient) -> Image:
    """Return the nodes' image of this checkout; build it if it is not there."""
    return ensure_tool_image(client, REPOSITORY, CONTEXT)


def _ensure(name: str, client: docker.DockerClient) -> Image:
    """Return the image of another system's nodes; build it if it is not there."""
    base = ensure_slurm_image(client)
    return ensure_tool_image(client, f"dask-runner-{name}", FOLDERS / name, base)


ensure_gridengine_image = partial(_ensure, "gridengine")
ensure_htcondor_image = partial(_ensure, "htcondor")
ensure_oar_image = partial(_ensure, "oar")
