"""Publish an image and its SIF in a registry, and fetch them from there.

Each is pushed under a tag that is made of measured facts, and only when all of that is
there under the tags that move (``openmpi``, ``latest``): whoever pulls one of those
meanwhile, or after a push that was cut short, gets the last one that was complete.
"""

from __future__ import annotations

import json
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
#: A SIF is another kind of thing than a Docker image, and gets a name of its own.
NAMES = {"image": "dask-runner", "sif": "dask-runner-sif"}
#: What a tag may hold (the OCI distribution specification).
NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Registry:
    """Where to, and as whom.

    Attributes
    ----------
    address : str
        Host, port and path, as ``localhost:5000/group``.
    user, password : str
        Empty: what ``docker login`` has stored, or nobody.
    plain : bool
        Speak http; by default only to loopback, as Docker does.
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
                "the registry, with the path that images have there",
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
        """Return the full name without a tag."""
        return f"{self.address}/{NAMES[kind]}"

    def login(self) -> dict[str, str] | None:
        """Return credentials in the words of the Docker SDK."""
        if not self.user:
            return None
        return {"username": self.user, "password": self.password}

    def options(self) -> list[str]:
        """Return Apptainer's options."""
        return ["--no-https"] if self.plain else []

    def environ(self) -> dict[str, str]:
        """Return credentials as Apptainer reads them from its environment."""
        if not self.user:
            return {}
        return {
            "APPTAINER_DOCKER_USERNAME": self.user,
            "APPTAINER_DOCKER_PASSWORD": self.password,
        }


def exact_tag(labels: Mapping[str, str], row: Row) -> str:
    """Return the tag of measured facts: ``0.1.0-openmpi5.0.7-pmix5.0.7-glibc2.41``.

    Parameters
    ----------
    labels : mapping of str to str
        The image's.
    row : Row
        Its row; an image with more packages has its name in the tag as well.
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
        row.extra,
    ]
    return NOT_IN_TAGS.sub("-", "-".join(part for part in parts if part))


def moving_tags(labels: Mapping[str, str], row: Row) -> list[str]:
    """Return the tags that the next release takes over, the least moving first."""
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
        Where to.
    row : Row
        Its row.
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
        The registry refuses, or is not there. What was pushed so far stays there under
        the exact tags; the moving ones are as before.
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
        # A name of the registry's here would hide that it is another image there.
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
    # Apptainer tells no digest before 1.5; the registry does.
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
    """Fetch an image, and its SIF.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    registry : Registry
        From where.
    row : Row
        Which; the image gets the name that ``make image`` would give it.
    sif : pathlib.Path
        Where the SIF goes.
    tag : str
        Which tag; by default the row's name.
    key : pathlib.Path, optional
        A public key: a SIF that its owner has not signed is refused.

    Raises
    ------
    ConfigError
        It is not there, may not be read, or is not signed. No file and no name here
        is another than before then.
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


def report(pushed: dict[str, str], file: Path) -> None:
    """Keep what was pushed beside the SIF, for those who pin digests."""
    file.write_text(json.dumps(pushed, indent=2) + "\n")
