"""Who else could take a directory away, and how one is held all the same."""

from __future__ import annotations

import grp
import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dask_runner.resources import private_directory
from dask_runner.resources.private_directory import HeldDirectory, exposure

SOMEBODY = 12346


Give = Callable[..., None]


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
    assert exposure(place) == ""


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
    assert exposure(ours) == ""
    members.append(user.pw_name)
    assert exposure(ours) == ""
    members.append("somebody")
    assert "can be written by group" in exposure(ours)
    members.clear()
    name[0] = "users"
    assert "can be written by group" in exposure(ours)


def test_a_directory_is_removed_wherever_it_is_by_now(tmp_path: Path) -> None:
    held, made = HeldDirectory.make(str(tmp_path), "ours-")
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


def test_the_path_is_told_before_anything_is_there(tmp_path: Path) -> None:
    told = []

    def before(path: Path) -> None:
        assert not list(tmp_path.iterdir())
        told.append(path)

    _, made = HeldDirectory.make(str(tmp_path), "ours-", before)
    assert told == [made]


def test_what_is_gone_already_is_removed_without_a_word(tmp_path: Path) -> None:
    HeldDirectory.at(tmp_path / "none").remove()
    held, made = HeldDirectory.make(str(tmp_path), "ours-")
    made.rmdir()
    held.remove()
    assert not list(tmp_path.iterdir())


def test_what_is_no_private_directory_is_never_removed(tmp_path: Path) -> None:
    """Such as /dev, which root could empty."""
    (tmp_path / "theirs").touch()
    for mode in (0o755, 0o710, 0o1777):
        tmp_path.chmod(mode)
        HeldDirectory.at(tmp_path).remove()
        assert (tmp_path / "theirs").exists()
    tmp_path.chmod(0o700)
    HeldDirectory.at(tmp_path).remove()
    assert not tmp_path.exists()


def test_who_is_slower_than_somebody_else_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each lays something where the first, the second and the third are made.
    def lay_another(path: Path) -> None:
        path.rmdir()
        make(path, 0o700)
        (path / "laid").touch()

    def lay_a_link(path: Path) -> None:
        path.rmdir()
        path.symlink_to("/usr")

    tricks = [lay_another, lay_a_link, Path.rmdir]
    make = Path.mkdir

    def slow(path: Path, mode: int) -> None:
        make(path, mode)
        if tricks:
            tricks.pop(0)(path)

    monkeypatch.setattr(Path, "mkdir", slow)
    held, made = HeldDirectory.make(str(tmp_path), "ours-")
    assert not tricks
    assert os.path.samestat(made.lstat(), os.fstat(held.descriptor))
    held.remove()
    assert len(list(tmp_path.glob("ours-*/laid"))) == 1


def test_who_is_always_slower_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "ours-made"
    made.mkdir()
    (made / "laid").touch()
    monkeypatch.setattr(secrets, "token_hex", lambda _: "made")
    with pytest.raises(PermissionError, match="somebody else takes away"):
        HeldDirectory.make(str(tmp_path), "ours-")
    assert (made / "laid").exists()


def test_temporary_files_are_put_where_others_cannot_take_them_away(
    ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(ours))
    assert private_directory.for_temporary_files() in {"/var/tmp", "/tmp"}
    ours.chmod(0o755)
    assert private_directory.for_temporary_files() == str(ours)
