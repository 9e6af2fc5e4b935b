"""The image with JupyterLab: that of its MPI, and more packages."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"(?m)^([\w.-]+)==(\S+)")

ROW = "openmpi-jupyter"
EXTENSIONS = {
    "labextension": ("dask-labextension", "jupyterlab-manager"),
    "server extension": ("dask_labextension", "jupyter_server_proxy", "jupyterlab"),
}


def locked(name: str) -> dict[str, str]:
    return dict(PINNED.findall((ROOT / f"images/{name}.txt").read_text()))


def layers(image: Any) -> list[str]:
    found: list[str] = image.attrs["RootFS"]["Layers"]
    return found


def test_what_both_images_have_is_locked_at_the_same_versions() -> None:
    assert locked("requirements").items() <= locked("requirements-jupyter").items()


def test_it_has_what_is_locked_and_the_layers_of_the_image_without(
    build: Callable[..., Any], image: Any, contained: Any
) -> None:
    contained.image = build(ROW)
    listed = contained.run("list", "--format=freeze", entrypoint="pip").stdout
    has = {name.lower().replace("_", "-"): at for name, at in PINNED.findall(listed)}
    assert locked("requirements-jupyter").items() <= has.items()
    shared = [
        one
        for one, other in zip(layers(image), layers(contained.image), strict=False)
        if one == other
    ]
    # As the families do, and the MPI with its two copies of files.
    assert len(shared) >= 7


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_jupyter_finds_the_extensions_and_says_that_they_work(
    build: Callable[..., Any], contained: Any, kind: str
) -> None:
    contained.image = build(ROW)
    ended = contained.run(*kind.split(), "list", entrypoint="jupyter")
    said = ended.stdout + ended.stderr
    assert ended.status == 0, said
    for name in EXTENSIONS[kind]:
        assert re.search(rf"\b{name} .*(OK|enabled)", said), said
    assert not re.search(r"disabled|error|[Ff]ail|X ", said), said
