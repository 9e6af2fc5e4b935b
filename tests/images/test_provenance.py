"""What labels say of a commit: what git knows, and else nothing."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from images.provenance import address, provenance

PREFIX = "org.opencontainers.image."


def git(checkout: Path, *words: str) -> str:
    who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    done = subprocess.run(
        ["git", *who, *words], cwd=checkout, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, require: Any) -> Path:
    """A repository with a file that images are made of, and one that they are not."""
    with require("git", "images"):
        git(tmp_path, "init", "--quiet")
    git(tmp_path, "remote", "add", "origin", "https://me:secret@example.org/it.git")
    (tmp_path / "inside").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Begin")
    return tmp_path


def test_a_commit_is_told_with_its_date_and_where_it_is(checkout: Path) -> None:
    found = provenance(["inside"], checkout)

    revision, created = git(checkout, "log", "-1", "--format=%H %cI").split()
    assert found == {
        f"{PREFIX}revision": revision,
        f"{PREFIX}created": created,
        f"{PREFIX}source": "https://example.org/it.git",
    }


def test_a_commit_that_changes_other_files_leaves_the_labels(checkout: Path) -> None:
    before = provenance(["inside"], checkout)
    (checkout / "outside").write_text("1")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "Go on")

    assert provenance(["inside"], checkout) == before


def test_a_changed_or_new_file_is_of_no_commit(checkout: Path) -> None:
    (checkout / "inside").write_text("2")

    assert provenance(["inside"], checkout) == {}


def test_what_lies_in_another_repository_is_not_of_that_one(checkout: Path) -> None:
    unpacked = checkout / "unpacked"
    unpacked.mkdir()
    (unpacked / "inside").write_text("1")

    assert provenance(["inside"], unpacked) == {}


ADDRESSES = {
    "https://user:token@example.org/a.git": "https://example.org/a.git",
    "https://example.org:8443/a": "https://example.org:8443/a",
    "git@example.org:group/a.git": "ssh://example.org/group/a.git",
    "ssh://git@example.org/a": "ssh://example.org/a",
    "/srv/a": "",
    "../a": "",
    "file:///srv/a": "",
    "": "",
}


@pytest.mark.parametrize(("remote", "told"), ADDRESSES.items(), ids=ADDRESSES)
def test_an_address_is_everybodys_or_none(remote: str, told: str) -> None:
    assert address(remote) == told
