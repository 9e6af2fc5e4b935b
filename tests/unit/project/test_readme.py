"""What README.md and the pages say of options, statuses and files is so."""

import re
from pathlib import Path

import pytest

import dask_runner
from dask_runner import errors
from tests.docs import tables

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()
HOW_IT_WORKS = (ROOT / "docs/explanation/how-it-works.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = (ROOT / "docs/reference/python.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(("page", "name"), tables.PARTS)
def test_what_a_page_has_from_the_code_is_fresh(page: str, name: str) -> None:
    made = tables.PARTS[page, name]()

    assert tables.marked(page, name) == made + "\n", "make docs-tables"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


def test_the_statuses_are_those_of_the_errors() -> None:
    told = {
        int(number)
        for number in re.findall(
            r"^\| (\d+) ",
            tables.marked("reference/statuses.md", "statuses"),
            re.MULTILINE,
        )
    }
    kinds = errors.RunnerError.__subclasses__()

    assert told == {kind.status for kind in kinds if "status" in vars(kind)}


def test_the_names_of_the_python_interface_exist() -> None:
    names = r"`(\w*Runner|Cluster|World|initialize|execute)(?:\(\))?`"
    told = set(re.findall(names, PYTHON, re.IGNORECASE))

    assert told == set(dask_runner.__all__) - {"__version__"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_paths_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    folders = "ci|examples|tests|runner|images|recipes"
    links = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text)
    told = set(re.findall(rf"`((?:{folders})/[\w./-]+)", text))
    told |= set(re.findall(rf"^    ((?:{folders})/\S*)", text, re.MULTILINE))

    assert [path for path in links if not (page.parent / path).exists()] == []
    assert [path for path in told if not (ROOT / path).exists()] == []


def test_the_map_has_every_folder_of_the_package_and_nothing_else() -> None:
    package = ROOT / "runner" / "dask_runner"
    modules = {path.name for path in package.glob("*.py") if path.name[0] != "_"}
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    told = re.findall(r"^\| `(\w+(?:\.py|/))`", HOW_IT_WORKS, re.MULTILINE)

    assert sorted(told) == sorted(modules | folders)


def test_a_make_target_that_it_names_exists() -> None:
    told = re.findall(
        r"(?:^    |`)make ([a-z -]+?)(?=`|$| {2,}| \w+=)",
        "\n".join(page.read_text() for page in PAGES),
        re.MULTILINE,
    )
    targets = re.findall(
        r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE
    )

    assert told
    assert {name for names in told for name in names.split()} <= set(targets)


def test_the_changelog_has_the_version() -> None:
    assert f"## [{dask_runner.__version__}]" in CHANGELOG
