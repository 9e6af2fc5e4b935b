"""Archives of packages: a whole one of this account is unpacked, and nothing else."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from dask_runner.packages.archive import (
    MANIFEST,
    BadArchiveError,
    Manifest,
    manifest,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOLD = Manifest("k" * 40, "cpython-313-x", {"polars": "1.0"}, ("polars>=1",))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of two files, a directory, and a program."""
    packages = tmp_path / "target"
    (packages / "polars").mkdir(parents=True)
    (packages / "polars" / "__init__.py").write_text("A = 1\n")
    (packages / "bin").mkdir()
    program = packages / "bin" / "polars"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / "made.tar"
    with path.open("wb") as file:
        pack(TOLD, packages, file)
    path.chmod(0o600)
    return path


def unpacked(path: Path) -> Path:
    into = path.parent / "into"
    unpack(path, TOLD.key, TOLD.python, into)
    return into


def made_by_hand(path: Path, members: list[tarfile.TarInfo], promised: int) -> None:
    with tarfile.open(path, "w") as file:
        text = json.dumps(asdict(TOLD) | {"members": promised}).encode()
        first = tarfile.TarInfo(MANIFEST)
        first.size = len(text)
        file.addfile(first, io.BytesIO(text))
        for member in members:
            file.addfile(member, io.BytesIO(b"x" * member.size))
    path.chmod(0o600)


def test_what_was_packed_is_unpacked(archive: Path) -> None:
    into = unpacked(archive)

    assert sorted(path.name for path in into.iterdir()) == ["bin", "polars"]
    assert (into / "polars" / "__init__.py").read_text() == "A = 1\n"
    assert os.access(into / "bin" / "polars", os.X_OK)
    assert into.stat().st_mode & 0o077 == 0


def test_the_bytecode_of_packages_own_tests_is_left_out(tmp_path: Path) -> None:
    packages = tmp_path / "target"
    for name in ("a/__pycache__", "a/tests/b/__pycache__"):
        (packages / name).mkdir(parents=True)
        (packages / name / "c.pyc").touch()
        (packages / name).with_name("c.py").touch()
    path = tmp_path / "made.tar"
    with path.open("wb") as made:
        pack(TOLD, packages, made)
    path.chmod(0o600)

    into = unpacked(path)

    found = sorted(str(one.relative_to(into)) for one in into.rglob("*.py*"))
    assert found == ["a/__pycache__/c.pyc", "a/c.py", "a/tests/b/c.py"]


def test_its_manifest_says_what_is_in_it(archive: Path) -> None:
    found = manifest(archive)

    assert (found.packages, found.requested, found.members) == (
        {"polars": "1.0"},
        ("polars>=1",),
        4,
    )


def test_a_part_of_one_is_refused_wherever_it_ends(archive: Path) -> None:
    whole = archive.read_bytes()
    # The end of an archive is empty blocks, so that is where a part is whole.
    content = len(whole.rstrip(b"\0"))
    for size in range(0, content, tarfile.BLOCKSIZE):
        archive.write_bytes(whole[:size])
        with pytest.raises(BadArchiveError):
            unpack(archive, TOLD.key, TOLD.python, archive.parent / f"into-{size}")


@pytest.mark.parametrize(
    ("key", "python", "words"),
    [
        ("other", TOLD.python, "made from something else"),
        (TOLD.key, "cpython-311-x", "is for cpython-313-x, and this Python is"),
    ],
)
def test_one_for_something_else_is_refused(
    archive: Path, key: str, python: str, words: str
) -> None:
    with pytest.raises(BadArchiveError, match=words):
        unpack(archive, key, python, archive.parent / "into")
    assert not (archive.parent / "into").exists()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, target
    return found


def file(name: str) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size = 1
    return found


@pytest.mark.parametrize(
    "members",
    [
        [file("../outside")],
        [file("a/../../outside")],
        [link("outside", "/etc/passwd")],
        [link("outside", "../../outside")],
        [link("a", ".."), file("a/outside")],
        [link("outside", "/etc/passwd", tarfile.LNKTYPE)],
        [link("outside", "", tarfile.CHRTYPE)],
        [link("outside", "", tarfile.FIFOTYPE)],
    ],
)
def test_no_member_gets_out(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    path = tmp_path / "below" / "made.tar"
    path.parent.mkdir()
    made_by_hand(path, members, len(members))

    with pytest.raises(BadArchiveError, match="a member that is refused"):
        unpacked(path)
    names = {each.name for each in tmp_path.rglob("*")}
    assert names <= {"below", "made.tar", "into", "a"}


def test_an_absolute_name_is_one_inside(tmp_path: Path) -> None:
    path = tmp_path / "made.tar"
    made_by_hand(path, [file(f"{tmp_path}/outside")], 1)

    into = unpacked(path)

    assert not (tmp_path / "outside").exists()
    assert [each.name for each in into.rglob("outside")] == ["outside"]


def test_a_file_needs_no_member_for_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "made.tar"
    made_by_hand(path, [file("a/b/c")], 1)

    assert (unpacked(path) / "a/b/c").read_text() == "x"


def test_files_and_links_come_together(tmp_path: Path) -> None:
    path = tmp_path / "made.tar"
    made_by_hand(path, [file("a/b"), link("a/c", "b"), file("a/d")], 3)

    into = unpacked(path)

    assert {one.name: one.read_text() for one in (into / "a").iterdir()} == {
        "b": "x",
        "c": "x",
        "d": "x",
    }
    assert (into / "a/c").is_symlink()


def test_a_file_system_that_sends_nothing_is_read(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuses)

    into = unpacked(archive)

    assert (into / "polars" / "__init__.py").read_text() == "A = 1\n"
    assert os.access(into / "bin" / "polars", os.X_OK)


def test_a_full_disk_is_told_as_the_systems_error(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "sendfile", full)

    with pytest.raises(OSError, match="No space left"):
        unpacked(archive)


def writable(path: Path) -> None:
    path.chmod(0o620)


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("hello\n" * 1000)


def another_archive(path: Path) -> None:
    with tarfile.open(path, "w") as made:
        made.addfile(file("hello"), io.BytesIO(b"x"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (writable, "can be written by others"),
        (linked, "is a symbolic link"),
        (a_fifo, "is no regular file"),
        (a_directory, "is no regular file"),
        (text, "is damaged"),
        (another_archive, "is damaged, or no archive of ours"),
        (empty, "is damaged"),
    ],
)
def test_what_is_no_archive_of_ours_is_refused(
    archive: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(archive)

    with pytest.raises(BadArchiveError, match=words):
        manifest(archive)
    with pytest.raises(BadArchiveError, match=words):
        unpacked(archive)
