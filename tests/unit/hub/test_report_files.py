"""Where reports go, and how they are written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.hub.report_files import dasks, ours
from tests.users import ordinary


def test_the_hub_writes_its_own_kinds_and_the_client_dasks() -> None:
    both = ["a-{job_id}.json", "b-{job_id}.html"]
    assert [str(one.path) for one in ours(both, "7")] == [str(Path.cwd() / "a-7.json")]
    assert dasks(both, "7") == "b-7.html"
    assert dasks(both[:1], "7") is None
    assert ours((), "7") == ()


def test_a_file_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    (file,) = ours([str(tmp_path / "r.json")], "")
    file.check()
    assert list(tmp_path.iterdir()) == []
    file.write("one")
    file.check()
    assert file.path.read_text() == "one"
    file.write("two")
    assert file.path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [file.path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "r.json").symlink_to(other)
    (file,) = ours([str(tmp_path / "r.json")], "")
    file.write("new")
    assert other.read_text() == "kept"
    assert file.path.read_text() == "new"


def test_nothing_stays_of_one_that_cannot_be_made(tmp_path: Path) -> None:
    (file,) = ours([str(tmp_path / "r.json")], "")
    file.write("one")
    with pytest.raises(UnicodeEncodeError):
        file.write("two \ud800")
    assert file.path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [file.path]


def test_the_file_of_another_account_is_not_replaced_where_that_is_not_allowed() -> (
    None
):
    with ordinary() as directory:
        directory.chmod(0o1777)
        (file,) = ours([str(directory / "r.json")], "")
        file.path.touch()
        if os.getresuid()[2] != 0:
            pytest.skip("needs a second account")
        mine = os.geteuid()
        os.seteuid(0)
        os.chown(file.path, 12346, 12346)
        os.chown(directory, 0, 0)
        os.seteuid(mine)
        try:
            with pytest.raises(ConfigError, match="another account has a file"):
                file.check()
        finally:
            os.seteuid(0)
            os.chown(directory, mine, mine)
            os.seteuid(mine)


@pytest.mark.parametrize("name", ["no/r.json", "there/r.json", "file/r.json"])
def test_what_cannot_be_written_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "there" / "r.json").mkdir(parents=True)
    (tmp_path / "file").touch()
    (file,) = ours([str(tmp_path / name)], "")
    with pytest.raises(ConfigError, match="cannot be written") as told:
        file.check()
    assert told.value.status == 78
