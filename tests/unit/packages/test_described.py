"""What `info` says of packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.packages.archive import Manifest, pack
from dask_runner.packages.cache import Cache, place
from dask_runner.packages.described import described

if TYPE_CHECKING:
    from pathlib import Path


def test_the_cache_is_told_with_what_is_in_it(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    cache = Cache(place(None, environ))
    cache.prepare()
    (tmp_path / "x").mkdir()
    with cache.adding("0123456789") as file:
        pack(Manifest("0123456789", "cp", {"a": "1", "b": "2"}), tmp_path / "x", file)
    cache.path_of("bad").touch(0o600)

    found = {name: (value, source) for name, value, source in described(None, environ)}

    assert found["cache"][0] == str(tmp_path / ".cache/dask-runner/packages")
    assert found["cache"][1].startswith("HOME; 10.0 KiB; ")
    assert found["01234567"] == ("a 1, b 2", "10.0 KiB, used today")
    assert found["bad"][0].startswith("is damaged")


def test_an_account_without_a_home_has_none() -> None:
    found = {name: (value, source) for name, value, source in described(None, {})}

    assert found["cache"] == ("none", "HOME is not set")
