"""The package cache: where it is, and that a name in it means a whole archive."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.packages.archive import Manifest, pack
from dask_runner.packages.cache import (
    STALE_SECONDS,
    UNUSED_SECONDS,
    Cache,
    Place,
    place,
)

if TYPE_CHECKING:
    from pathlib import Path

KEY = "abc123"


def cache_at(path: Path, *, named: bool = False) -> Cache:
    cache = Cache(Place(path, "HOME", named=named))
    cache.prepare()
    return cache


def add(cache: Cache, directory: Path, key: str = KEY, version: str = "1") -> None:
    directory.mkdir(exist_ok=True)
    with cache.adding(key) as file:
        pack(Manifest(key, "cp", {"a": version}), directory, file)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return cache_at(tmp_path / "cache" / "packages")


def test_it_is_where_caches_are(tmp_path: Path) -> None:
    home = {"HOME": "/home/me"}

    assert str(place(None, home).path) == "/home/me/.cache/dask-runner/packages"
    named = place(None, home | {"XDG_CACHE_HOME": "/scratch/me"})
    assert str(named.path) == "/scratch/me/dask-runner/packages"
    assert place(str(tmp_path), home).path == tmp_path


def test_without_a_home_it_has_to_be_named() -> None:
    with pytest.raises(ConfigError, match="HOME is not set"):
        place(None, {})


def test_it_is_made_for_this_account_alone(tmp_path: Path) -> None:
    cache_at(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_what_is_added_is_found(cache: Cache, tmp_path: Path) -> None:
    assert cache.find(KEY) is None
    add(cache, tmp_path / "x")

    found = cache.find(KEY)

    assert found is not None
    assert found.packages == {"a": "1"}
    assert cache.path_of(KEY).stat().st_mode & 0o777 == 0o600


def test_the_first_of_two_jobs_decides(cache: Cache, tmp_path: Path) -> None:
    add(cache, tmp_path / "x", version="1")
    add(cache, tmp_path / "x", version="2")

    found = cache.find(KEY)

    assert found is not None
    assert found.packages == {"a": "1"}
    assert len([*cache.path_of(KEY).parent.iterdir()]) == 1


def test_on_a_file_system_without_hard_links_it_is_the_same(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "no hard links")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    add(cache, tmp_path / "x", version="1")
    add(cache, tmp_path / "x", version="2")

    found = cache.find(KEY)

    assert found is not None
    assert found.packages == {"a": "1"}
    assert len([*cache.path_of(KEY).parent.iterdir()]) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_nothing_has_a_name_before_it_is_whole(
    cache: Cache, error: type[BaseException]
) -> None:
    def breaks_off() -> None:
        with cache.adding(KEY) as file:
            file.write(b"x" * 100_000)
            assert cache.find(KEY) is None
            raise error

    with pytest.raises(error):
        breaks_off()
    assert [*cache.path_of(KEY).parent.iterdir()] == []


def test_a_full_disk_is_told_as_one(cache: Cache) -> None:
    def fills() -> None:
        with cache.adding(KEY):
            raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match=r"do not fit into .*No space left") as told:
        fills()
    assert "--package-cache" in told.value.do


def test_an_archive_that_cannot_be_used_is_told(cache: Cache) -> None:
    cache.path_of(KEY).write_text("hello")
    cache.path_of(KEY).chmod(0o600)

    with pytest.raises(ConfigError, match="is damaged") as told:
        cache.find(KEY)
    assert told.value.do.startswith("remove it")


def test_an_archive_under_the_name_of_another_is_refused(
    cache: Cache, tmp_path: Path
) -> None:
    add(cache, tmp_path / "x", "other")
    cache.path_of("other").rename(cache.path_of(KEY))

    with pytest.raises(ConfigError, match="made from something else"):
        cache.find(KEY)


def test_what_is_not_used_for_long_goes(cache: Cache, tmp_path: Path) -> None:
    for key in ("used", "unused"):
        add(cache, tmp_path / "x", key)
    parts = [cache.path_of(KEY).with_name(f".{n}-c1-1.part") for n in ("a", "b")]
    for part in parts:
        part.touch()
    (mine := cache.path_of(KEY).with_name("notes.txt")).touch()
    now = cache.path_of("used").stat().st_mtime
    for path, age in (
        (cache.path_of("unused"), UNUSED_SECONDS),
        (parts[0], STALE_SECONDS),
        (mine, 10 * UNUSED_SECONDS),
    ):
        os.utime(path, (now - age - 1, now - age - 1))

    cache.tidy(now)

    left = sorted(path.name for path in mine.parent.iterdir())
    assert left == [parts[1].name, "notes.txt", "used.tar"]


def test_a_use_is_noted(cache: Cache, tmp_path: Path) -> None:
    add(cache, tmp_path / "x")
    os.utime(cache.path_of(KEY), (1, 1))

    cache.find(KEY)

    assert cache.path_of(KEY).stat().st_mtime > 1


def test_entries_come_with_what_is_in_them(cache: Cache, tmp_path: Path) -> None:
    add(cache, tmp_path / "x", "old")
    os.utime(cache.path_of("old"), (1, 1))
    cache.path_of("bad").touch(0o600)

    bad, old = cache.entries()

    assert (bad.manifest, bad.trouble.partition(":")[0]) == (None, "is damaged")
    assert old.manifest is not None


def test_before_the_first_use_there_are_no_entries(tmp_path: Path) -> None:
    assert Cache(Place(tmp_path / "none", "HOME", named=False)).entries() == []


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_one_that_others_can_write_is_refused_unless_it_is_named(
    tmp_path: Path, mode: int
) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p").chmod(mode)

    with pytest.raises(ConfigError, match="can be written by others"):
        cache_at(tmp_path / "p")
    cache = cache_at(tmp_path / "p", named=True)
    add(cache, tmp_path / "x")
    assert cache.find(KEY) is not None


def test_a_link_in_its_place_is_refused_unless_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "p").symlink_to("real")

    with pytest.raises(ConfigError, match="is no directory"):
        cache_at(tmp_path / "p")
    cache_at(tmp_path / "p", named=True)


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "p").touch()

    for path in (tmp_path / "p", tmp_path / "p" / "below"):
        with pytest.raises(ConfigError) as told:
            cache_at(path, named=True)
        assert "--package-cache" in told.value.do
