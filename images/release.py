"""What a release has of one image: the image and its SIF, its bill of materials.

All of it is of the image without its site's settings (:mod:`images.without_site`).
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from containers.engine import say
from dask_runner import __version__
from dask_runner.errors import ConfigError
from images import registry
from images.cosign import sign_file, sign_pushed
from images.sbom import sbom
from images.sif import build_sif
from images.signing import sign
from images.without_site import without_site

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import docker
    from docker.models.images import Image

    from images.table import Row

SUMS = "SHA256SUMS"


@dataclass(frozen=True, slots=True)
class Made:
    """One image, ready to be published.

    Attributes
    ----------
    image : docker.models.images.Image
    row : Row
        Its row in the table.
    sif : pathlib.Path
        Signed, if there is a key.
    bill : str
        Its bill of materials.
    key : pathlib.Path or None
        The private key that signs.
    """

    image: Image
    row: Row
    sif: Path
    bill: str
    key: Path | None


def make(client: docker.DockerClient, image: Image, row: Row, key: Path | None) -> Made:
    """Make the SIF and the bill of materials of an image, and sign the SIF."""
    plain, named = without_site(client, image, row)
    sif = build_sif(client, plain, named)
    if key is not None:
        sign(client, sif, key)
    return Made(plain, row, sif, sbom(client, plain, row), key)


def publish(
    client: docker.DockerClient, made: Made, environ: Mapping[str, str]
) -> dict[str, str]:
    """Push image and SIF to ``REGISTRY``, and sign both there; return their digests."""
    target = registry.Registry.of(environ)
    pushed = registry.push(client, target, made.row, made.image, made.sif, made.bill)
    if made.key is not None:
        by_digest = {
            f"{name.rpartition(':')[0]}@{digest}" for name, digest in pushed.items()
        }
        sign_pushed(client, target, sorted(by_digest), made.key)
    return pushed


def put(made: Made, folder: Path) -> None:
    """Put an image's files of a release beside the wheel.

    ``dask-runner-0.2.0-openmpi.sif``, and ``….cdx.json``.
    """
    sif = folder / f"dask-runner-{__version__}-{made.row.name}.sif"
    sif.unlink(missing_ok=True)
    shutil.copy2(made.sif, sif)
    sif.with_suffix(".cdx.json").write_text(made.bill + "\n")


def seal(client: docker.DockerClient, folder: Path, key: Path | None) -> None:
    """Write the checksums of all files of a release, and sign them.

    Raises
    ------
    ConfigError
        There is no wheel.
    """
    if not list(folder.glob("*.whl")):
        raise ConfigError(
            f"{folder} has no wheel", "what make dist makes", "make release"
        )
    sums = folder / SUMS
    for old in (sums, folder / f"{SUMS}.sig"):
        old.unlink(missing_ok=True)
    lines = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            lines.append(
                f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}"
            )
    sums.write_text("\n".join(lines) + "\n")
    signature = sign_file(client, sums, key) if key else None
    say(f"{folder} has {len(lines)} files and {signature or sums}")
