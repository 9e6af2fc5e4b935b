"""The workflows of a hosted CI call make, and nothing that make does not have."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import dask_runner
from tests.workflows import MAKEFILE, ROOT, TARGETS, WORKFLOWS, jobs, made, steps


def test_there_are_workflows_that_publish_images_and_the_site() -> None:
    docs, publish = WORKFLOWS

    assert (docs.name, publish.name) == ("docs.yml", "publish.yml")
    assert any("release" in words for words in made(publish))
    assert ["docs"] in made(docs)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_each_target_is_one_of_the_makefile(workflow: Path) -> None:
    for words in made(workflow):
        targets = [word for word in words if "=" not in word]
        assert targets
        assert set(targets) <= TARGETS


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_each_variable_is_one_that_make_explains(workflow: Path) -> None:
    given = {
        word.partition("=")[0]
        for words in made(workflow)
        for word in words
        if "=" in word
    }
    for job in jobs(workflow).values():
        given |= set(job.get("env", {}))
    readme = (ROOT / "images/README.md").read_text()
    assert all(re.search(rf"\b{name}\b", MAKEFILE + readme) for name in given), given


def test_a_release_is_one_target_and_publishes_all_that_it_makes() -> None:
    words = next(words for words in made(WORKFLOWS[1]) if "release" in words)

    assert {"release", "upload"} <= set(words)
    # Every row of the table, as no row is named; with the key that signs.
    assert not any(word.startswith("ROW=") for word in words)
    assert any(word.startswith("SIGN_KEY=") for word in words)
    assert "REGISTRY" in jobs(WORKFLOWS[1])["release"]["env"]
    assert any("dist/*" in step.get("run", "") for step in steps(WORKFLOWS[1]))


def test_a_release_has_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())

    assert project["version"] == dask_runner.__version__ == citation["version"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_of_others_are_pinned_to_a_release(workflow: Path) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", name) for name in used)
