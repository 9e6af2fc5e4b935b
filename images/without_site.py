"""Make an image for everybody: without the settings of the site that built it.

The base image has the site's mirrors and certificates as layers of their own
(:mod:`containers.base_image`), so that each step of a build finds them, and so does an
image that is built on top here. Removing the files in a later layer would leave them in
the earlier one, which is pushed too. So these layers are left out.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import tarfile
import tempfile
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

from containers.base_image import BASE, LABEL, plain_base
from containers.engine import locked, say
from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image

    from images.table import Row


@dataclass(frozen=True, slots=True)
class Span:
    """Where the site's layers are in an image: after some, up to others.

    Attributes
    ----------
    first, end : int
        Of the layers.
    first_step, end_step : int
        The same of the steps of its history, of which some have no layer.
    """

    first: int
    end: int
    first_step: int
    end_step: int


def without_site(
    client: docker.DockerClient, image: Image, row: Row
) -> tuple[Image, Row]:
    """Return the image without the site's settings, and a row with a name for it.

    An image that has none is returned as it is.

    Raises
    ------
    ConfigError
        The base image is another one than the image was built on.
    """
    if LABEL not in image.labels:
        return image, row
    plain = replace(row, name=f"{row.name}-plain", default=False)
    span = _span(client, image)
    with locked(f"image-{plain.name}"):
        if (known := _known(client, image, plain, span)) is None:
            say(f"leaving this site's settings out of {row.tag}")
            known = _made(client, image, plain, span)
    return known, plain


def _span(client: docker.DockerClient, image: Image) -> Span:
    below, base = plain_base(client), client.images.get(BASE)
    if _layers(image)[: len(_layers(base))] != _layers(base):
        raise ConfigError(
            f"{image.short_id} was not built on the {BASE} of now",
            "an image whose base is here",
            "build it again",
        )
    return Span(
        len(_layers(below)),
        len(_layers(base)),
        len(below.history()),
        len(base.history()),
    )


def _layers(image: Image) -> list[str]:
    found: list[str] = image.attrs["RootFS"]["Layers"]
    return found


def _known(
    client: docker.DockerClient, image: Image, plain: Row, span: Span
) -> Image | None:
    """Return the image that was made earlier, if it is the same but for the site."""
    found = client.images.list(filters={"reference": plain.tag})
    layers = _layers(image)
    wanted = layers[: span.first] + layers[span.end :], _unlabelled(image)
    fitting = (each for each in found if (_layers(each), _unlabelled(each)) == wanted)
    return next(fitting, None)


def _unlabelled(image: Image) -> dict[str, Any]:
    config = copy.deepcopy(image.attrs["Config"])
    config.pop("Image", None)
    config["Labels"].pop(LABEL, None)
    return dict(config)


def _made(client: docker.DockerClient, image: Image, plain: Row, span: Span) -> Image:
    with tempfile.TemporaryFile() as saved, tempfile.TemporaryFile() as made:
        for chunk in image.save(named=True):
            saved.write(chunk)
        saved.seek(0)
        rewrite(saved, made, plain.tag, span)
        made.seek(0)
        client.images.load(made)
    return client.images.get(plain.tag)


def rewrite(saved: IO[bytes], made: IO[bytes], tag: str, span: Span) -> None:
    """Copy an archive of ``docker save`` with another tag, without some layers.

    Parameters
    ----------
    saved, made : file
        The archive, and what is written.
    tag : str
        The name that loading it gives.
    span : Span
        What is left out.
    """
    with (
        tarfile.open(fileobj=saved) as old,
        tarfile.open(fileobj=made, mode="w") as new,
    ):
        (manifest,) = json.loads(_content(old, "manifest.json"))
        config = reduced(json.loads(_content(old, manifest["Config"])), span)
        text = json.dumps(config, sort_keys=True).encode()
        layers = manifest["Layers"][: span.first] + manifest["Layers"][span.end :]
        for name in dict.fromkeys(layers):
            layer = _file(old, name)
            member = tarfile.TarInfo(name)
            # The layer may be a link to another one that is the same.
            member.size = layer.seek(0, io.SEEK_END)
            layer.seek(0)
            new.addfile(member, layer)
        name = f"{hashlib.sha256(text).hexdigest()}.json"
        listed = {"Config": name, "RepoTags": [tag], "Layers": layers}
        for path, data in (
            (name, text),
            ("manifest.json", json.dumps([listed]).encode()),
        ):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))


def reduced(config: dict[str, Any], span: Span) -> dict[str, Any]:
    """Return an image's configuration without a span of layers and without the site."""
    found = copy.deepcopy(config)
    layers = found["rootfs"]["diff_ids"]
    found["rootfs"]["diff_ids"] = layers[: span.first] + layers[span.end :]
    steps = found["history"]
    found["history"] = steps[: span.first_step] + steps[span.end_step :]
    # The step that made it, which is in the history as well.
    found.pop("container_config", None)
    (found["config"].get("Labels") or {}).pop(LABEL, None)
    return found


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    return _file(archive, name).read()


def _file(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise ConfigError(
            f"an image's archive has no {name}", "what docker save writes"
        )
    return file
