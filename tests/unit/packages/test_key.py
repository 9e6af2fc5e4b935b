"""The key of added packages: what changes it, and what does not."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.settings import Requested
from dask_runner.packages.installed import Installed
from dask_runner.packages.key import inputs, key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IMAGE = (Installed("dask", "2026.1", ""), Installed("numpy", "2.4", ""))
PYTHON = ("cpython-313-x86_64-linux-gnu", "3.13.5")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working directory with a requirements file, and what that names."""
    (tmp_path / "requirements.txt").write_text("-r more.txt\n--find-links wheels\n")
    (tmp_path / "more.txt").write_text("polars\n-c limits.txt\n")
    (tmp_path / "limits.txt").write_text("polars<2\n")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a-1-py3-none-any.whl").write_text("a")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "polars").mkdir()
    return tmp_path


LINES = Requested(("scipy>=1", "./mine"), ("requirements.txt",))


def of(
    here: Path,
    requested: Requested = LINES,
    settings: Mapping[str, str] | None = None,
    python: tuple[str, ...] = PYTHON,
    image: tuple[Installed, ...] = IMAGE,
) -> str:
    settings = settings or {}
    return key(inputs(requested, settings, here), settings, python, image)


def test_it_is_a_name_of_a_file(here: Path) -> None:
    assert of(here).isalnum()


def test_it_is_the_same_again_and_elsewhere(here: Path, tmp_path: Path) -> None:
    before = of(here)
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(here, elsewhere, ignore=shutil.ignore_patterns("elsewhere"))

    assert of(here) == before
    assert of(elsewhere) == before


@pytest.mark.parametrize(
    "name",
    [
        "requirements.txt",
        "more.txt",
        "limits.txt",
        "wheels/a-1-py3-none-any.whl",
        "mine/pyproject.toml",
    ],
)
def test_each_file_that_is_named_counts(here: Path, name: str) -> None:
    before = of(here)
    with (here / name).open("a") as file:
        file.write("# another\n")

    assert of(here) != before


@pytest.mark.parametrize("name", ["wheels/b-1-py3-none-any.whl", "mine/code.py"])
def test_a_new_file_where_packages_are_counts(here: Path, name: str) -> None:
    before = of(here)
    (here / name).touch()

    assert of(here) != before


def test_a_file_elsewhere_names_wheels_beside_it_and_packages_here(here: Path) -> None:
    (here / "sub" / "wheels").mkdir(parents=True)
    (here / "sub" / "more.txt").write_text("--find-links wheels\n-e mine\n./wheels/x\n")
    requested, keys = Requested((), ("sub/more.txt",)), set()
    for name in ("sub/wheels/a.whl", "mine/code.py", "wheels/x"):
        keys.add(of(here, requested))
        (here / name).touch()
    before = of(here, requested)
    (here / "wheels" / "y").touch()

    assert len(keys | {before}) == 4
    assert of(here, requested) == before


@pytest.mark.parametrize("name", ["other.txt", "polars/code.py", "mine/.git/x"])
def test_other_files_do_not_count(here: Path, name: str) -> None:
    before = of(here)
    (here / name).parent.mkdir(exist_ok=True)
    (here / name).touch()

    assert of(here) == before


def test_the_requirements_the_python_the_image_and_the_settings_count(
    here: Path,
) -> None:
    found = {
        of(here),
        of(here, Requested(("scipy>=2", "./mine"), LINES.files)),
        of(here, Requested(LINES.lines)),
        of(here, python=("cpython-312", "3.12")),
        of(here, image=IMAGE[:1]),
        of(here, image=(Installed("dask", "2026.2", ""), IMAGE[1])),
        of(here, settings={"UV_DEFAULT_INDEX": "https://mirror"}),
    }

    assert len(found) == 7


def test_a_wheels_directory_of_a_variable_counts(here: Path) -> None:
    lines, settings = Requested(("a",)), {"UV_FIND_LINKS": str(here / "wheels")}
    before = of(here, lines, settings)
    (here / "wheels" / "c.whl").touch()

    assert of(here, lines, settings) != before


def test_files_that_name_each_other_come_to_an_end(here: Path) -> None:
    (here / "more.txt").write_text("-r requirements.txt\n")

    assert of(here)


def test_a_line_that_no_shell_would_read_is_the_resolvers(here: Path) -> None:
    (here / "requirements.txt").write_text("polars 'x\n")

    assert of(here)


@pytest.mark.parametrize("name", ["nothing.txt", "wheels"])
def test_a_requirements_file_that_cannot_be_read_is_an_error(
    here: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match=f"{name} cannot be read"):
        of(here, Requested((), (name,)))


def test_a_requirements_file_that_is_no_text_is_an_error(here: Path) -> None:
    (here / "requirements.txt").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="it is no text"):
        of(here)
