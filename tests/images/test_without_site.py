"""What is pushed has nothing of the site that built it; what is built here has."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# A base of its own: other tests build on Debian's meanwhile.
BASE = "dask-runner-base-of-a-test:latest"
MIRROR = "mirror.example.org"
SITE = {
    "PIP_INDEX_URL": f"https://{MIRROR}/simple",
    "DEBIAN_MIRROR": f"http://{MIRROR}/debian",
}


def everything(image: Any) -> dict[str, bytes]:
    """Return the files of an image's archive, and those of its layers."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(image.save()))) as archive:
        found = contents(archive)
    for name, data in list(found.items()):
        if name.endswith("layer.tar"):
            with tarfile.open(fileobj=io.BytesIO(data)) as layer:
                found |= contents(layer)
    return found


def contents(archive: tarfile.TarFile) -> dict[str, bytes]:
    files = ((each.name, archive.extractfile(each)) for each in archive)
    return {name: file.read() for name, file in files if file}


@pytest.fixture
def built(
    engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Any]:
    """An image on a base with a site's settings, and its row."""
    from containers import base_image  # noqa: PLC0415  needs the Docker SDK
    from containers.site import Site  # noqa: PLC0415
    from images import table, without_site  # noqa: PLC0415

    for module in (base_image, without_site):
        monkeypatch.setattr(module, "BASE", BASE)
    (tmp_path / "base").write_text("of everybody\n")
    root = tmp_path / "root.tar"
    with tarfile.open(root, "w") as tar:
        tar.add(tmp_path / "base", "base")
    name, _, tag = BASE.partition(":")
    engine.api.import_image_from_file(str(root), name, tag)
    base_image.ensure_base(engine, Site.of(SITE))

    row = table.Row("made-by-a-test", "none", "none")
    recipe = f"FROM {BASE}\nLABEL kept=yes\nADD base /on-top\nENV A=b\n"
    context = {"Dockerfile": recipe.encode(), "base": b"more\n"}
    image = base_image.build(engine, base_image.archive(context), row.tag)
    yield image, row
    for one in (row.tag, f"{row.tag}-plain", BASE):
        engine.images.remove(one, force=True)


def test_the_sites_mirrors_are_in_no_layer_and_no_setting_of_it(
    engine: Any, built: Any
) -> None:
    from containers import base_image  # noqa: PLC0415  needs the Docker SDK
    from containers.site import Site  # noqa: PLC0415
    from dask_runner.errors import ConfigError  # noqa: PLC0415
    from images.without_site import without_site  # noqa: PLC0415

    image, row = built
    assert any(MIRROR.encode() in data for data in everything(image).values())

    plain, named = without_site(engine, image, row)

    found = everything(plain)
    assert [name for name, data in found.items() if MIRROR.encode() in data] == []
    assert (found["base"], found["on-top"]) == (b"of everybody\n", b"more\n")
    assert plain.labels == {"kept": "yes"}
    assert "A=b" in plain.attrs["Config"]["Env"]
    assert named.tag in plain.tags
    # A second time, nothing is made.
    assert without_site(engine, image, row)[0].id == plain.id
    assert without_site(engine, plain, named) == (plain, named)

    # Whose layers would be others, once the base has other settings.
    base_image.ensure_base(engine, Site.of({"PIP_TRUSTED_HOST": MIRROR}))
    with pytest.raises(ConfigError, match="was not built on"):
        without_site(engine, image, row)
