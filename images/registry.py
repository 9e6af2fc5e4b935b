"""Publish an image and its SIF in a registry, and fetch them from there.

Both are pushed under a tag made of measured facts first, and only then under the tags
that move (``openmpi``, ``latest``). A moving tag therefore stands for a complete push,
also while another one is going on or was interrupted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from containers.engine import say
from dask_runner.errors import ConfigError
from images.attachments import CYCLONEDX, File, Repository
from images.signing import verify
from images.tools import apptainer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import docker
    from docker.models.images import Image

    from images.table import Row

PREFIX = "dask-runner."
#: A SIF is no Docker image, so its repository has another name.
NAMES = {"image": "dask-runner", "sif": "dask-runner-sif"}
#: What a tag may hold (the OCI distribution specification).
NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Registry:
    """The address of a registry, and a login.

    Attributes
    ----------
    address : str
        Host, port and path, as ``localhost:5000/group``.
    user, password : str
        If empty, those that ``docker login`` stored, if any.
    plain : bool
        Whether to speak http; :meth:`of` sets it for loopback alone, as Docker does.
    """

    address: str
    user: str = ""
    password: str = ""
    plain: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Registry:
        """Read ``REGISTRY``, ``REGISTRY_USER``, ``REGISTRY_PASSWORD``.

        Raises
        ------
        ConfigError
            No registry is named.
        """
        address = environ.get("REGISTRY", "").removeprefix("https://").strip("/")
        if not address:
            raise ConfigError(
                "REGISTRY is not set",
                "the registry's address, with the path of the images there",
                "make push REGISTRY=registry.example.org/group",
            )
        host = address.partition("/")[0].partition(":")[0]
        return cls(
            address,
            environ.get("REGISTRY_USER", ""),
            environ.get("REGISTRY_PASSWORD", ""),
            plain=host in ("localhost", "127.0.0.1"),
        )

    def repository(self, kind: str) -> str:
        """Return the full name of a repository, without a tag."""
        return f"{self.address}/{NAMES[kind]}"

    def login(self) -> dict[str, str] | None:
        """Return the login as the Docker SDK takes it."""
        if not self.user:
            return None
        return {"username": self.user, "password": self.password}

    def options(self) -> list[str]:
        """Return Apptainer's options."""
        return ["--no-https"] if self.plain else []

    def environ(self) -> dict[str, str]:
        """Return the login as Apptainer reads it from its environment."""
        if not self.user:
            return {}
        return {
            "APPTAINER_DOCKER_USERNAME": self.user,
            "APPTAINER_DOCKER_PASSWORD": self.password,
        }


def exact_tag(labels: Mapping[str, str], row: Row) -> str:
    """Return the tag of measured facts: ``0.2.0-openmpi5.0.7-pmix5.0.7-glibc2.41``.

    Parameters
    ----------
    labels : mapping of str to str
        The image's.
    row : Row
        Its row; the tag also has the names of the packages on top, if there are any.
    """
    facts = {
        name.removeprefix(PREFIX): value
        for name, value in labels.items()
        if name.startswith(PREFIX)
    }
    vendor = facts.get("mpi.vendor", "no MPI").lower().replace(" ", "")
    parts = [
        labels["org.opencontainers.image.version"],
        vendor + facts.get("mpi.version", ""),
        facts["pmix"] and f"pmix{facts['pmix']}",
        f"glibc{facts['glibc']}",
        f"python{facts['python']}",
        f"dask{facts['packages.dask']}",
        facts["arch"],
        row.adds,
        row.extra,
    ]
    return NOT_IN_TAGS.sub("-", "-".join(part for part in parts if part))


def moving_tags(labels: Mapping[str, str], row: Row) -> list[str]:
    """Return the tags that a later release takes over; the most moving last."""
    version = labels["org.opencontainers.image.version"]
    return [f"{version}-{row.name}", row.name] + ["latest"] * row.default


def push(
    client: docker.DockerClient,
    registry: Registry,
    row: Row,
    image: Image,
    sif: Path,
    bill: str = "",
) -> dict[str, str]:
    """Publish an image and its SIF.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    registry : Registry
        The registry.
    row : Row
        The image's row.
    image : docker.models.images.Image
        The image.
    sif : pathlib.Path
        The SIF.
    bill : str
        The bill of materials (CycloneDX, JSON), which is attached to both.

    Returns
    -------
    dict of str to str
        Full name with tag → digest.

    Raises
    ------
    ConfigError
        The registry refuses, or does not answer. What was pushed so far stays there
        under the exact tags; the moving ones are as before.
    """
    exact = exact_tag(image.labels, row)
    pushed: dict[str, str] = {}
    for tag in (exact, *moving_tags(image.labels, row)):
        name = f"{registry.repository('image')}:{tag}"
        pushed[name] = _push_image(client, registry, image, tag)
        say(f"pushed {name} {pushed[name]}")
        name = f"{registry.repository('sif')}:{tag}"
        pushed[name] = _push_sif(client, registry, sif, name)
        say(f"pushed {name} {pushed[name]}")
        if bill and tag == exact:
            file = File(f"{exact}.cdx.json", CYCLONEDX, bill.encode())
            for kind in NAMES:
                digest = pushed[f"{registry.repository(kind)}:{exact}"]
                Repository(client, registry, kind).attach(digest, file)
                say(f"attached its bill of materials to {digest}")
    return pushed


def _push_image(
    client: docker.DockerClient, registry: Registry, image: Image, tag: str
) -> str:
    repository = registry.repository("image")
    image.tag(repository, tag)
    try:
        stream = client.images.push(
            repository, tag, stream=True, decode=True, auth_config=registry.login()
        )
        return _digest(stream, repository)
    finally:
        # The engine would use this image for the name, whatever the registry has later.
        client.images.remove(f"{repository}:{tag}")


def _digest(stream: Iterator[dict[str, Any]], name: str) -> str:
    found = ""
    for line in stream:
        if "error" in line:
            raise ConfigError(
                f"pushing {name}: {line['error']}",
                "a registry that takes it",
                "docker login, or REGISTRY_USER and REGISTRY_PASSWORD; then make push "
                "again",
            )
        found = line.get("aux", {}).get("Digest", found)
    if not found:
        raise ConfigError(f"pushing {name}: no digest came", "a registry that answers")
    return found


def _push_sif(
    client: docker.DockerClient, registry: Registry, sif: Path, name: str
) -> str:
    apptainer(
        client,
        ["push", *registry.options(), sif.name, f"oras://{name}"],
        takes={sif.name: sif},
        environ=registry.environ(),
    )
    # Apptainer prints no digest before 1.5.
    found = client.images.get_registry_data(name, auth_config=registry.login())
    return str(found.id)


def pull(
    client: docker.DockerClient,
    registry: Registry,
    row: Row,
    sif: Path,
    *,
    tag: str = "",
    key: Path | None = None,
) -> Image:
    """Fetch an image and its SIF.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    registry : Registry
        The registry.
    row : Row
        The image's row; the image gets the name that ``make image`` would give it.
    sif : pathlib.Path
        The path for the SIF.
    tag : str
        The tag; by default the row's name.
    key : pathlib.Path, optional
        A public key: a SIF that is not signed by its owner is refused.

    Raises
    ------
    ConfigError
        The image is not there, may not be read, or is not signed. Files and names here
        are then as before.
    """
    import docker as sdk  # noqa: PLC0415 - for its errors

    tag = tag or row.name
    repository = registry.repository("image")
    try:
        image = client.images.pull(repository, tag, auth_config=registry.login())
    except sdk.errors.APIError as error:
        raise ConfigError(
            f"pulling {repository}:{tag}: {error.explanation or error}",
            "an image of that name that you may read",
            "look at REGISTRY, REGISTRY_USER and REGISTRY_PASSWORD",
        ) from None
    aside = sif.with_suffix(".new")
    source = f"oras://{registry.repository('sif')}:{tag}"
    apptainer(
        client,
        ["pull", *registry.options(), "image.sif", source],
        takes={},
        gives={"image.sif": aside},
        environ=registry.environ(),
    )
    try:
        if key is not None:
            verify(client, aside, key)
        aside.chmod(0o755)
        aside.replace(sif)
    finally:
        aside.unlink(missing_ok=True)
    image.tag(row.tag)
    return image
