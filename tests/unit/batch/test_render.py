"""A template, ours or a site's, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_runner.batch import render
from dask_runner.batch.render import NoValueError, Templates
from dask_runner.batch.systems import SYSTEMS
from dask_runner.errors import ConfigError


def site(path: Path, **templates: str) -> Templates:
    for name, text in templates.items():
        (path / f"{name}.j2").write_text(text)
    return Templates(str(path))


def test_a_template_of_the_site_is_taken_before_ours(tmp_path: Path) -> None:
    templates = site(tmp_path, slurm="mine {{ a | plain }}\n")

    assert templates.render("slurm.j2", {"a": "x"}) == "mine x\n"
    assert templates.source("pbs.j2") == Templates().source("pbs.j2")


def test_it_may_include_our_parts(tmp_path: Path) -> None:
    templates = site(tmp_path, slurm='{% include "mpiexec.j2" %}\n')

    assert "binding_policy" in templates.render("slurm.j2", {})


def test_a_variable_without_a_value_tells_its_name(tmp_path: Path) -> None:
    templates = site(tmp_path, slurm="{{ partition | plain }}")

    with pytest.raises(NoValueError, match=r"^partition$"):
        templates.render("slurm.j2", {})


@pytest.mark.parametrize(
    "text",
    [
        *("{{ a }}", "{{ a ~ 'b' }}", "{{ 'b' }}", "{{ [1] }}", "{{ 1.5 }}"),
        *("{{ a | plain ~ 'b' }}", "{{ a | label }}"),
    ],
)
def test_a_value_that_no_filter_has_written_gets_into_no_script(
    tmp_path: Path, text: str
) -> None:
    templates = site(tmp_path, slurm=text)

    with pytest.raises(ConfigError, match=r"gone through none of the filters|has no"):
        templates.render("slurm.j2", {"a": "x"})


def made(templates: Templates) -> str:
    templates.variables("slurm.j2")
    return templates.render("slurm.j2", {"a": 1})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\n{% if %}", "slurm.j2, line 2"),
        ("{{ a.b.c }}", "has no attribute"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ a | nonsense }}", "nonsense"),
        ("{{ namespace(a=1) }}", "namespace"),
        ('{% include "other.j2" %}', "other.j2"),
        ('{% include "slurm.j2" %}', "recursion"),
    ],
)
def test_a_wrong_template_is_told_in_three_parts(
    tmp_path: Path, text: str, told: str
) -> None:
    templates = site(tmp_path, slurm=text)

    with pytest.raises((ConfigError, NoValueError), match=told) as caught:
        made(templates)

    if isinstance(caught.value, ConfigError):
        assert caught.value.needed
        assert caught.value.do


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "slurm.j2").write_bytes(b"\xff")

    with pytest.raises(ConfigError, match=r"slurm\.j2 is wrong: .*utf-8"):
        Templates(str(tmp_path)).variables("slurm.j2")


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no directory"):
        Templates(str(tmp_path / "none"))


def test_no_template_reaches_out_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "site").mkdir()
    templates = site(tmp_path / "site", slurm='{% include "../secret" %}')

    with pytest.raises(ConfigError, match="no template"):
        templates.render("slurm.j2", {})


def test_the_variables_of_a_template_are_those_of_its_parts_too() -> None:
    assert {"time", "claim", "image", "args", "nodes"} <= Templates().variables(
        "kubernetes.j2"
    )
    assert "claim" not in Templates().variables("slurm.j2")


def test_the_package_has_a_template_for_each_system_and_no_other() -> None:
    there = {
        path.name
        for path in (Path(render.__file__).parent / "templates").iterdir()
        if path.suffix == ".j2"
    }
    parts = {"image.j2", "mpiexec.j2", "metadata.j2", "pod.j2", "indexed_job.j2"}
    parts |= {"end_time.j2", "each_host.j2"}

    assert there == {system.template for system in SYSTEMS} | parts
