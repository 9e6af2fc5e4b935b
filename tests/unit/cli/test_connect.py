"""Whether the first word of ``dask-runner connect`` is a cluster's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_runner.cli.connect import begins_with_name
from dask_runner.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with two clusters, and a working directory with scripts."""
    (tmp_path / ".dask-runner").mkdir()
    for name in ("lab", "both", "folder", "run.py"):
        (tmp_path / ".dask-runner" / f"cluster-{name}.json").touch()
    work = tmp_path / "work"
    for folder in ("folder", "package", "empty"):
        (work / folder).mkdir(parents=True)
    (work / "package" / "__main__.py").touch()
    for script in ("both", "script", "there.py"):
        (work / script).touch()
    monkeypatch.chdir(work)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "is_name"),
    [
        # a cluster has the name
        (["lab", "there.py"], True),
        (["lab"], True),
        (["folder", "there.py"], True),  # that of a directory that cannot be run
        (["run.py", "there.py"], True),
        # a script has it
        (["there.py", "lab"], False),
        (["script", "x"], False),
        (["package"], False),
        (["both"], False),  # and nothing comes after it
        # neither: what it looks like
        (["labb", "there.py"], True),
        (["labb"], True),
        (["empty", "there.py"], True),
        (["nowhere.py", "x"], False),
        (["nowhere.pyz"], False),
        # what no cluster can be called
        (["./lab", "there.py"], False),
        (["/lab"], False),
        (["-"], False),
        (["a b"], False),
        (["é"], False),
    ],
)
def test_a_first_word_is_a_name_or_a_script(
    home: Path, words: list[str], is_name: bool
) -> None:
    assert begins_with_name(words, {"HOME": str(home)}) == is_name


def test_a_word_that_may_be_both_is_an_error(home: Path) -> None:
    with pytest.raises(UsageError) as error:
        begins_with_name(["both", "there.py"], {"HOME": str(home)})

    assert "a cluster named 'both', and a script of that name" in error.value.saw
    assert "write ./both" in error.value.do


def test_without_a_home_there_are_scripts_alone(home: Path) -> None:
    del home
    assert not begins_with_name(["there.py", "x"], {})
    assert begins_with_name(["lab", "x"], {})  # an error that says so follows
