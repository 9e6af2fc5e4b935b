"""Make a SIF of a Docker image, with Apptainer here or in a container."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from requests.exceptions import RequestException

from containers.engine import locked, say, tail
from containers.entry import ROOT
from containers.node_image import ensure_slurm_image
from dask_runner.errors import ConfigError
from images.table import REPOSITORY
from images.tools import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker
    from docker.models.containers import Container
    from docker.models.images import Image

    from images.table import Row

FOLDER = ROOT / "build"
BUILD_SECONDS = 600
# Each container mounts and decompresses the image for itself: with blocks of 32 KiB
# instead of 128 it unpacks less that it does not need, for 5 % more size
# (docs/bench/costs.md). This level makes room for what is not compressed.
SQUASHFS = "-comp zstd -Xcompression-level 9 -b 32K"
#: What every leader reads from its first to its last byte is not compressed.
READ_WHOLE = ("dask-runner.bytecode", "python3.[0-9]*", "libc.so.6")
AS_IT_IS = f"-action uncompressed@({'||'.join(f'name({it})' for it in READ_WHOLE)})"
#: The first release of squashfs-tools with actions (its announcement, 2021-07-22).
HAS_ACTIONS = (4, 5)
ARCHIVE = "image.tar"
RESULT = "/tmp/image.sif"  # noqa: S108 - a path in a container of our own
# The engine unpacks the archive that it is sent; Apptainer needs it packed.
IN_CONTAINER = f"""\
set -eu
tar -cf /tmp/{ARCHIVE} -C /srv $(ls /srv)
cd /tmp
exec apptainer build --mksquashfs-args "{SQUASHFS} {AS_IT_IS}" {RESULT} \\
    docker-archive:{ARCHIVE}
"""


def build_sif(client: docker.DockerClient, image: Image, row: Row) -> Path:
    """Make ``build/dask-runner-<row>.sif``, if it is not made of this image already.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    image : docker.models.images.Image
        The image.
    row : Row
        Its row in the table.

    Returns
    -------
    pathlib.Path
        The SIF. For the default row, ``build/dask-runner.sif`` links to it.
    """
    FOLDER.mkdir(exist_ok=True)
    sif = FOLDER / row.sif
    # A file beside the SIF says which image it was made of; only Apptainer could read
    # that from the SIF.
    record = sif.with_suffix(".sif.image")
    with locked(f"sif-{row.name}"):
        if not (sif.exists() and record.exists() and record.read_text() == image.id):
            _make(client, image, row, sif)
            _write_aside(record, str(image.id))
        if row.default:
            _link(FOLDER / f"{REPOSITORY}.sif", sif)
    return sif


def _make(client: docker.DockerClient, image: Image, row: Row, sif: Path) -> None:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=".sif-", dir=FOLDER) as directory:
        made = Path(directory) / sif.name
        if shutil.which("apptainer"):
            say(f"making {sif.name} with this machine's Apptainer")
            _make_here(image, row, made)
        else:
            say(f"making {sif.name} with Apptainer in a container")
            _make_in_container(client, image, row, made)
        made.chmod(0o755)
        made.replace(sif)
    size = sif.stat().st_size / 1e6
    say(f"{sif.name}: {size:.0f} MB in {time.monotonic() - start:.0f} s")


def _make_here(image: Image, row: Row, made: Path) -> None:
    with (made.parent / ARCHIVE).open("wb") as archive:
        archive.writelines(image.save(named=row.tag))
    done = subprocess.run(
        [
            "apptainer",
            "build",
            "--mksquashfs-args",
            how_to_pack(_version_of_mksquashfs()),
            made.name,
            f"docker-archive:{ARCHIVE}",
        ],
        cwd=made.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if done.returncode:
        raise _failed(done.returncode, done.stdout)


def how_to_pack(version: str) -> str:
    """Return mksquashfs's arguments, for what ``mksquashfs -version`` says."""
    found = re.search(r"version (\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < HAS_ACTIONS:
        return SQUASHFS
    return f"{SQUASHFS} {AS_IT_IS}"


def _version_of_mksquashfs() -> str:
    try:
        done = subprocess.run(
            ["mksquashfs", "-version"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        return ""  # Apptainer has one of its own
    return done.stdout


def _make_in_container(
    client: docker.DockerClient, image: Image, row: Row, made: Path
) -> None:
    """Copy the image into the container, build as an ordinary user, copy the SIF out.

    No folder is mounted: the engine may be on another machine, with other users.
    """
    tool = ensure_slurm_image(client)
    with _container(client, tool) as container:
        # The SDK's stubs know bytes only; requests streams a generator.
        container.put_archive("/srv", cast("bytes", image.save(named=row.tag)))
        container.start()
        try:
            status = container.wait(timeout=BUILD_SECONDS)["StatusCode"]
        except RequestException as error:
            raise _failed(f"no end within {BUILD_SECONDS} s ({error})", "") from None
        if status:
            raise _failed(status, container.logs().decode(errors="replace"))
        fetch(container, RESULT, made)


@contextmanager
def _container(client: docker.DockerClient, tool: Image) -> Iterator[Container]:
    container = client.containers.create(
        tool,
        ["-c", IN_CONTAINER],
        entrypoint="sh",
        user="user",
        network_mode="none",
    )
    try:
        yield container
    finally:
        container.remove(force=True, v=True)


def _failed(status: object, output: str) -> ConfigError:
    return ConfigError(
        f"apptainer build ended with status {status}\n{tail(output)}",
        "an Apptainer that can make a SIF of a Docker archive",
        "check that the disk is not full; try `apptainer build` by hand",
    )


def _write_aside(path: Path, text: str) -> None:
    aside = path.with_suffix(".new")
    aside.write_text(text)
    aside.replace(path)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and os.readlink(link) == target.name:  # noqa: PTH115
        return
    aside = link.with_suffix(".new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target.name)
    aside.replace(link)
