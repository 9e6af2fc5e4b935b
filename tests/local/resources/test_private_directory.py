"""Directories of other users, and of ours that they can take away."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner import linux
from dask_runner.resources.private_directory import exposure
from tests.users import NOBODY, ordinary

if TYPE_CHECKING:
    from tests.conftest import Require


SOMEBODY = 12346


Give = Callable[..., None]


@pytest.fixture
def give(require: Require) -> Give:
    """Give a path to another user and group."""

    def away(path: Path, user: int, group: int = -1) -> None:
        with require("root, to give a directory away", "local"):
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
    assert exposure(ours) == expected
    assert exposure(below) == expected


def test_what_nobody_else_can_enter_is_ours_whatever_its_modes_are() -> None:
    with ordinary() as private:
        (private / "open").mkdir()
        (private / "open").chmod(0o777)
        assert exposure(private / "open") == ""
        private.chmod(0o711)
        assert "can be written by all" in exposure(private / "open")


def test_links_are_resolved_first(ours: Path, tmp_path: Path, give: Give) -> None:
    theirs = ours / "theirs"
    theirs.mkdir()
    give(theirs, SOMEBODY)
    (tmp_path / "link").symlink_to(theirs)
    assert exposure(tmp_path / "link") == f"{theirs} belongs to uid {SOMEBODY}"


def test_a_directory_of_another_user_is_theirs_at_any_depth(
    ours: Path, give: Give
) -> None:
    below = ours / "a" / "b"
    below.mkdir(parents=True)
    give(ours, SOMEBODY)
    assert exposure(below) == f"{ours} belongs to uid {SOMEBODY}"


def test_users_that_a_container_does_not_know_are_taken_for_root(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, give: Give
) -> None:
    give(ours, NOBODY)
    assert exposure(ours) == f"{ours} belongs to uid {NOBODY}"
    (tmp_path / "uid_map").write_text("         0       1000          1\n")
    monkeypatch.setattr(linux, "_MAP", tmp_path / "uid_map")
    linux._hides_users.cache_clear()  # noqa: SLF001
    try:
        assert exposure(ours) == ""
    finally:
        linux._hides_users.cache_clear()  # noqa: SLF001
