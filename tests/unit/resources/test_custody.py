"""Who else could take a directory away, and how one is held all the same."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner.resources import custody
from dask_runner.resources.custody import Held, others
from tests.unit.users import NOBODY, ordinary

if TYPE_CHECKING:
    from tests.conftest import Require

SOMEBODY = 12346


Give = Callable[..., None]


@pytest.fixture
def give(require: Require) -> Give:
    """Give a path to another user and group."""

    def away(path: Path, user: int, group: int = -1) -> None:
        with require("root, to give a directory away", "unit"):
            os.chown(path, user, group)

    return away


@pytest.fixture
def ours() -> Iterator[Path]:
    """Return a directory of ours that all may enter, below one of root's."""
    directory = Path(tempfile.mkdtemp(prefix="ours-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o700)
    shutil.rmtree(directory)


@pytest.mark.parametrize("place", ["/", "/tmp", "/var/tmp", "/usr"])
def test_roots_own_directories_are_nobody_elses(place: str) -> None:
    assert others(place) == ""


@pytest.mark.parametrize(
    ("mode", "word"),
    [
        (0o700, ""),
        (0o755, ""),
        (0o1777, ""),
        (0o1775, ""),
        (0o777, "can be written by all (mode 0777)"),
        (0o757, "can be written by all (mode 0757)"),
        (0o775, f"can be written by group {SOMEBODY} (mode 0775)"),
        (0o2775, f"can be written by group {SOMEBODY} (mode 2775)"),
    ],
)
def test_the_mode_of_each_directory_on_the_way_counts(
    ours: Path, give: Give, mode: int, word: str
) -> None:
    below = ours / "below"
    below.mkdir()
    give(ours, -1, SOMEBODY)
    ours.chmod(mode)
    expected = f"{ours} {word}" if word else ""
    assert others(ours) == expected
    assert others(below) == expected


def test_what_nobody_else_can_enter_is_ours_whatever_its_modes_are() -> None:
    with ordinary() as private:
        (private / "open").mkdir()
        (private / "open").chmod(0o777)
        assert others(private / "open") == ""
        private.chmod(0o711)
        assert "can be written by all" in others(private / "open")


def test_links_are_resolved_first(ours: Path, tmp_path: Path, give: Give) -> None:
    theirs = ours / "theirs"
    theirs.mkdir()
    give(theirs, SOMEBODY)
    (tmp_path / "link").symlink_to(theirs)
    assert others(tmp_path / "link") == f"{theirs} belongs to uid {SOMEBODY}"


def test_a_directory_of_another_user_is_theirs_at_any_depth(
    ours: Path, give: Give
) -> None:
    below = ours / "a" / "b"
    below.mkdir(parents=True)
    give(ours, SOMEBODY)
    assert others(below) == f"{ours} belongs to uid {SOMEBODY}"


def test_users_that_a_container_does_not_know_are_taken_for_root(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, give: Give
) -> None:
    give(ours, NOBODY)
    assert others(ours) == f"{ours} belongs to uid {NOBODY}"
    (tmp_path / "uid_map").write_text("         0       1000          1\n")
    monkeypatch.setattr(custody, "_MAP", tmp_path / "uid_map")
    custody._hides_users.cache_clear()  # noqa: SLF001
    try:
        assert others(ours) == ""
    finally:
        custody._hides_users.cache_clear()  # noqa: SLF001


def test_the_group_that_each_user_has_for_themselves_is_no_other(
    ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = pwd.getpwuid(os.geteuid())
    members: list[str] = []
    name = [user.pw_name]

    def of(gid: int) -> grp.struct_group:
        return grp.struct_group((name[0], "x", gid, members))

    monkeypatch.setattr(grp, "getgrgid", of)
    os.chown(ours, -1, user.pw_gid)
    ours.chmod(0o775)
    assert others(ours) == ""
    members.append(user.pw_name)
    assert others(ours) == ""
    members.append("somebody")
    assert "can be written by group" in others(ours)
    members.clear()
    name[0] = "users"
    assert "can be written by group" in others(ours)


def test_a_directory_is_removed_wherever_it_is_by_now(tmp_path: Path) -> None:
    held, made = Held.make(str(tmp_path), "ours-")
    assert made.stat().st_mode & 0o777 == 0o700
    (held.path / "log").write_text("x")
    (held.path / "deep" / "er").mkdir(parents=True)
    (held.path / "deep" / "link").symlink_to("/usr")
    made.rename(tmp_path / "elsewhere")
    made.mkdir()
    (made / "theirs").touch()
    held.remove()
    held.remove()
    assert [path.name for path in tmp_path.rglob("*")] == [made.name, "theirs"]
    assert Path("/usr").exists()


def test_what_is_gone_already_is_removed_without_a_word(tmp_path: Path) -> None:
    Held.at(tmp_path / "none").remove()
    held, made = Held.make(str(tmp_path), "ours-")
    made.rmdir()
    held.remove()
    assert not list(tmp_path.iterdir())


def test_who_is_slower_than_somebody_else_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each lays something where the first, the second and the third are made.
    def lay_another(path: Path) -> None:
        path.rmdir()
        path.mkdir(0o700)
        (path / "laid").touch()

    def lay_a_link(path: Path) -> None:
        path.rmdir()
        path.symlink_to("/usr")

    tricks = [lay_another, lay_a_link, Path.rmdir]
    make = tempfile.mkdtemp

    def slow(**how: str) -> str:
        made: str = make(**how)
        if tricks:
            tricks.pop(0)(Path(made))
        return made

    monkeypatch.setattr(tempfile, "mkdtemp", slow)
    held, made = Held.make(str(tmp_path), "ours-")
    assert not tricks
    assert os.path.samestat(made.lstat(), os.fstat(held.descriptor))
    held.remove()
    assert len(list(tmp_path.glob("ours-*/laid"))) == 1


def test_who_is_always_slower_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "laid").touch()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(made))
    with pytest.raises(PermissionError, match="somebody else takes away"):
        Held.make(str(tmp_path), "ours-")
    assert (made / "laid").exists()


def test_temporary_files_are_put_where_others_cannot_take_them_away(
    ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(ours))
    assert custody.temporary() in {"/var/tmp", "/tmp"}
    ours.chmod(0o755)
    assert custody.temporary() == str(ours)
