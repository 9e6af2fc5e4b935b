"""What README.md says of the options, launchers, statuses and files is so."""

import re
from pathlib import Path

import pytest

import dask_runner
from dask_runner import errors
from dask_runner.launch.options import OPTIONS, Option
from dask_runner.launch.table import LAUNCHERS
from tests.attacks.table import table

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text()
HOW_IT_WORKS = README.partition("## How it works")[2].partition("\n## ")[0]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()


def marked(name: str) -> str:
    """Return the part of README.md between two comments."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert found, name
    return found[1]


def row(option: Option) -> str:
    names = [f"--{option.name}", *filter(None, [option.short])]
    metavar = option.metavar.replace("|", "\\|")
    if not option.metavar:
        names = [f"--{option.name}", f"--no-{option.name}"]
    flags = ", ".join(f"`{name}`" for name in names)
    plain = option.default in (None, (), "")
    default = "" if plain else f"`{str(option.default).lower()}`"
    if isinstance(option.default, str):
        default = f"`{option.default}`"
    return f"| {flags} {metavar}".rstrip() + f" | {default} | {option.help} |\n"


def test_the_table_of_options_is_the_table_of_the_command_line() -> None:
    head = "| option | default | meaning |\n|---|---|---|\n"

    assert marked("options") == head + "".join(row(option) for option in OPTIONS)


def test_the_table_of_attacks_is_made_of_those_that_are_tried() -> None:
    assert marked("attacks") == table() + "\n"


def test_the_launchers_are_told_in_their_order() -> None:
    titles = [launcher.title for launcher in LAUNCHERS]

    assert marked("launchers").replace("`", "") == ", ".join(titles) + ".\n"


def test_the_statuses_are_those_of_the_errors() -> None:
    told = {
        int(number)
        for number in re.findall(r"^\| (\d+) ", marked("statuses"), re.MULTILINE)
    }
    kinds = errors.RunnerError.__subclasses__()

    assert told == {kind.status for kind in kinds if "status" in vars(kind)}


def test_the_names_of_the_python_interface_exist() -> None:
    section = README.partition("## From Python")[2].partition("\n## ")[0]
    names = r"`(\w*Runner|Cluster|World|initialize|execute)(?:\(\))?`"
    told = set(re.findall(names, section, re.IGNORECASE))

    assert told == set(dask_runner.__all__) - {"__version__"}


@pytest.mark.parametrize(
    "path",
    sorted(
        set(re.findall(r"\]\(([\w./]+)\)", README))
        | set(
            re.findall(
                r"`((?:ci|examples|tests|runner|images|recipes)/[\w./-]+)", README
            )
        )
        | set(
            re.findall(
                r"^    ((?:ci|examples|tests|runner|images|recipes)/\S*)",
                README,
                re.MULTILINE,
            )
        )
        | {
            f"runner/dask_runner/{name}"
            for name in re.findall(r"^\| `(\w+(?:\.py|/))`", HOW_IT_WORKS, re.MULTILINE)
        }
    ),
)
def test_a_path_that_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_the_map_has_every_folder_of_the_package_and_nothing_else() -> None:
    package = ROOT / "runner" / "dask_runner"
    modules = {path.name for path in package.glob("*.py") if path.name[0] != "_"}
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    told = re.findall(r"^\| `(\w+(?:\.py|/))`", HOW_IT_WORKS, re.MULTILINE)

    assert sorted(told) == sorted(modules | folders)


def test_a_make_target_that_it_names_exists() -> None:
    told = re.findall(
        r"(?:^    |`)make ([a-z -]+?)(?=`|$| {2,}| \w+=)", README, re.MULTILINE
    )
    targets = re.findall(
        r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE
    )

    assert told
    assert {name for names in told for name in names.split()} <= set(targets)


def test_the_changelog_has_the_version() -> None:
    assert f"## [{dask_runner.__version__}]" in CHANGELOG
