"""The workflows of a hosted CI call make, and nothing that make does not have."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import dask_runner
from images.table import rows
from tests.workflows import MAKEFILE, ROOT, TARGETS, WORKFLOWS, jobs, made, steps


def test_there_are_workflows_that_publish_images_and_the_site() -> None:
    docs, publish = WORKFLOWS

    assert (docs.name, publish.name) == ("docs.yml", "publish.yml")
    assert any("push" in words for words in made(publish))
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


def test_images_of_every_row_of_the_table_are_published() -> None:
    images = jobs(WORKFLOWS[1])["images"]
    assert images["strategy"]["matrix"]["row"] == list(rows())


def test_a_release_has_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())

    assert project["version"] == dask_runner.__version__ == citation["version"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_of_others_are_pinned_to_a_release(workflow: Path) -> None:
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", name) for name in used)
