"""The definition files of Apptainer, beside the Dockerfile that they equal."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "images/Dockerfile").read_text()
RECIPE = (ROOT / "recipes/dask-runner.def").read_text()
# What `dask-runner recipe` fills in.
SITE = (ROOT / "runner/dask_runner/cli/site.def").read_text()
RECIPES = sorted((ROOT / "recipes").glob("*.def"))
PLACE = re.compile(r"\{\{ (\w+) \}\}")


def stages(recipe: Path) -> list[str]:
    return re.split(r"(?m)^(?=Bootstrap:)", recipe.read_text())[1:]


def section(stage: str, name: str) -> str:
    """Return what a stage has in a section, of all that have the name."""
    return "".join(re.findall(rf"(?ms)^%{name}\n(.*?)(?=^%|\Z)", stage))


def arguments(stage: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^ +(\w+)=(.*)$", section(stage, "arguments")))


def assignments(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize("recipe", [RECIPE, SITE], ids=["own", "site"])
def test_both_set_the_same_environment(recipe: str) -> None:
    without_comments = re.sub(r"(?m)^#.*\n", "", DOCKERFILE)
    instruction = re.search(r"(?ms)^ENV (.*?[^\\])\n", without_comments)
    assert instruction
    docker = shlex.split(instruction[1].replace("\\\n", " "))
    exports = section(recipe, "environment").replace("export", "")
    # An argument is in one file what it is in the other.
    exports = PLACE.sub(r"${\1}", exports)
    apptainer = shlex.split(exports, comments=True)
    assert assignments(apptainer) == assignments(docker)


def test_both_take_the_same_arguments_with_the_same_defaults() -> None:
    docker = dict(re.findall(r"(?m)^ARG (MPI\w*|REQUIREMENTS)=(.*)$", DOCKERFILE))
    last = stages(ROOT / "recipes/dask-runner.def")[-1]
    apptainer = arguments(last)
    assert {name: apptainer.get(name) for name in docker} == docker


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_the_arguments_are_those_that_are_used(recipe: Path) -> None:
    for stage in stages(recipe):
        assert set(PLACE.findall(stage)) == set(arguments(stage))


def test_what_the_recipe_takes_from_the_checkout_is_there() -> None:
    for stage in stages(ROOT / "recipes/dask-runner.def"):
        files = section(stage, "files")
        for name, default in arguments(stage).items():
            files = files.replace(f"{{{{ {name} }}}}", default)
        for source, _ in map(str.split, filter(str.strip, files.splitlines())):
            assert list(ROOT.glob(source)), source


def test_both_kinds_of_definition_file_give_the_same_labels() -> None:
    labels = [re.findall(r"(?m)^ .*", section(one, "labels")) for one in (SITE, RECIPE)]
    assert labels[0] == labels[1] != []
