"""Write the bill of materials of an image, in CycloneDX's JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from images.docker_image import run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker
    from docker.models.images import Image

    from images.table import Row

SCRIPT = Path(__file__).parent / "scripts" / "list_packages.py"


def sbom(client: docker.DockerClient, image: Image, row: Row) -> str:
    """Return the bill of materials of an image, as JSON.

    The packages are read from the image itself, not from its requirements; its labels
    are properties of the whole.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    image : docker.models.images.Image
        The image.
    row : Row
        Its row.
    """
    found = json.loads(run_python(client, image, SCRIPT.read_text()))
    bom = Bom(components=_components(found))
    whole = Component(
        name=row.tag,
        version=image.labels["org.opencontainers.image.version"],
        type=ComponentType.CONTAINER,
        bom_ref=row.tag,
        properties=[
            Property(name=name, value=value)
            for name, value in (*image.labels.items(), ("docker.id", str(image.id)))
        ],
    )
    bom.metadata.component = whole
    bom.register_dependency(whole, bom.components)
    outputter = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6)
    return outputter.output_as_string(indent=2)


def _components(found: dict[str, Any]) -> Iterator[Component]:
    release = found["release"]
    for name, version, arch, source in found["deb"]:
        qualifiers = {
            "arch": arch,
            "distro": f"{release['ID']}-{release['VERSION_ID']}",
            "upstream": source,
        }
        yield _component(PackageURL("deb", release["ID"], name, version, qualifiers))
    for name, version in (*found["wheel"], *found["mpi"]):
        yield _component(PackageURL("pypi", None, name, version))


def _component(url: PackageURL) -> Component:
    return Component(
        name=url.name,
        version=url.version,
        type=ComponentType.LIBRARY,
        purl=url,
        bom_ref=url.to_string(),
    )
