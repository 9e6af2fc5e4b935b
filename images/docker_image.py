"""Build the Docker image of a row, and label it with facts that are measured in it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from containers.base_image import BASE, archive, build, ensure_base, plain_base
from containers.engine import locked, say, tail
from containers.entry import ROOT
from containers.site import Site
from dask_runner.errors import ConfigError
from images.provenance import PREFIX as OCI
from images.provenance import digest, provenance
from images.scripts import measure_abi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker
    from docker.models.images import Image

    from images.table import Row

PREFIX = "/opt/dask-runner"
# The same files that .dockerignore admits.
CONTEXT = ("images", "runner", "pyproject.toml", "README.md", "LICENSE")
READ_SECONDS = 60
# As in recipes/derive.def.
DERIVE = """\
FROM {base}
USER root
COPY requirements.txt {prefix}/
RUN sh {prefix}/scripts/add-requirements.sh {prefix}/requirements.txt
USER 1000:1000
"""
# The last step, so that a commit which changes nothing else costs a second. The labels
# are in a file as well: a program in the image cannot read them (`recipe`).
LABELLED = """\
FROM {image}
COPY provenance.json {prefix}/
"""
# Prints the facts and the version of this package.
READ = f"""\
import json
from importlib.metadata import version
facts = json.load(open("{PREFIX}/abi.json"))
print(json.dumps([version("dask-runner"), facts]))
"""


def build_image(client: docker.DockerClient, row: Row) -> Image:
    """Build a row's image; what the engine has cached is not built again.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    row : Row
        The image's row.

    Returns
    -------
    docker.models.images.Image
        The image, tagged and labelled; the same as before if nothing changed.
    """
    ensure_base(client, Site.of(os.environ))
    with locked(f"image-{row.name}"):
        say(f"building {row.tag}")
        # Facts are measured in a built image, so labels are a second step. The image
        # without them has another name, so that nobody starts it.
        unlabelled = build(
            client,
            _context(),
            f"{row.tag}-unlabelled",
            dockerfile="images/Dockerfile",
            buildargs={"BASE": BASE} | row.buildargs,
        )
        return _labelled(client, row, unlabelled)


def build_derived(
    client: docker.DockerClient, base: Image, row: Row, requirements: Path
) -> Image:
    """Build an image with a user's packages on top of a row's.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    base : docker.models.images.Image
        The row's image.
    row : Row
        The image's row, of :meth:`images.table.Row.derived`.
    requirements : pathlib.Path
        A requirements file for pip.

    Returns
    -------
    docker.models.images.Image
        The image, tagged, and labelled with facts measured with the packages in it.

    Raises
    ------
    ConfigError
        The file cannot be read, or pip cannot install its packages.
    """
    try:
        content = requirements.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"REQUIREMENTS={requirements} cannot be read: {error.strerror}",
            "a requirements file for pip",
            "correct its name",
        ) from None
    with locked(f"image-{row.name}"):
        say(f"building {row.tag} with {requirements}")
        recipe = DERIVE.format(base=base.id, prefix=PREFIX).encode()
        context = archive({"Dockerfile": recipe, "requirements.txt": content})
        return _labelled(client, row, build(client, context, f"{row.tag}-unlabelled"))


def _labelled(client: docker.DockerClient, row: Row, unlabelled: Image) -> Image:
    origin = provenance(CONTEXT) | digest(plain_base(client))
    recipe = LABELLED.format(image=unlabelled.id, prefix=PREFIX).encode()
    known = json.dumps(origin, indent=2, sort_keys=True).encode() + b"\n"
    return build(
        client,
        archive({"Dockerfile": recipe, "provenance.json": known}),
        row.tag,
        labels=labels(*_read(client, unlabelled)) | origin,
    )


def labels(version: str, facts: dict[str, Any]) -> dict[str, str]:
    """Return the measured facts as labels, ``dask-runner.mpi.family`` and so on."""
    return {f"{OCI}version": version} | measure_abi.labels(facts)


def _read(client: docker.DockerClient, image: Image) -> tuple[str, dict[str, Any]]:
    version, facts = json.loads(run_python(client, image, READ))
    return version, facts


def run_python(client: docker.DockerClient, image: Image, code: str) -> str:
    """Run code with an image's Python, without a network, and return what it prints.

    Raises
    ------
    ConfigError
        The code failed; the message has the end of its output.
    """
    container = client.containers.create(
        image,
        ["-c", code],
        entrypoint=f"{PREFIX}/bin/python",
        network_mode="none",
        user="0:0",  # sizes are those of all files
    )
    try:
        container.start()
        status = container.wait(timeout=READ_SECONDS)["StatusCode"]
        output = container.logs(stderr=bool(status)).decode(errors="replace")
    finally:
        # With its volumes, which the SDK's own run(remove=True) would leave.
        container.remove(force=True, v=True)
    if status:
        raise ConfigError(
            f"Python in {image.short_id} ended with status {status}\n{tail(output)}",
            f"an image whose {PREFIX} works",
            f"docker run --rm -it --entrypoint bash {image.short_id}",
        )
    return output


def _context() -> bytes:
    files = (file for name in CONTEXT for file in _files(ROOT / name))
    return archive({str(file.relative_to(ROOT)): file.read_bytes() for file in files})


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for file in path.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file
