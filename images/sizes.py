"""Print the size of each package in an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from images.docker_image import run_python

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

SCRIPT = Path(__file__).parent / "scripts" / "measure_sizes.py"
LEAST = 1e6


def sizes(client: docker.DockerClient, image: Image) -> dict[str, int]:
    """Return the bytes of each package in an image, the largest first."""
    found: dict[str, int] = json.loads(run_python(client, image, SCRIPT.read_text()))
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def table(found: dict[str, int], sif: Path) -> str:
    """Return the sizes as lines for people.

    Parameters
    ----------
    found : dict of str to int
        Bytes by package.
    sif : pathlib.Path
        The SIF of the image; its size is added if it is there.
    """
    large = {name: size for name, size in found.items() if size >= LEAST}
    rest = sum(found.values()) - sum(large.values())
    lines = [f"{size / 1e6:6.1f} MB  {name}" for name, size in large.items()]
    lines.append(f"{rest / 1e6:6.1f} MB  {len(found) - len(large)} others below 1 MB")
    lines.append(f"{sum(found.values()) / 1e6:6.1f} MB  in all")
    if sif.exists():
        lines.append(f"{sif.stat().st_size / 1e6:6.1f} MB  {sif.name}, compressed")
    return "\n".join(lines)
