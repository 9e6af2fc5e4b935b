"""Records among the files of other users."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from tests.unit.records import RECORD, found, published
from tests.users import NOBODY, ordinary

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Require


def test_a_file_that_belongs_to_someone_else_is_not_to_be_believed(
    tmp_path: Path, require: Require
) -> None:
    path = tmp_path / "record.json"
    published(path)
    with require("root, to give a file away", "local"):
        os.chown(path, NOBODY, NOBODY)
    assert "belongs to uid 65534" in str(found(path))


def test_an_unreadable_directory_is_named() -> None:
    with ordinary() as directory:
        path = directory / "closed" / "record.json"
        published(path)
        path.parent.chmod(0)
        assert "cannot be read: Permission denied" in str(found(path))
        with pytest.raises(ConfigError, match="Permission denied"):
            published(path)


def test_a_file_under_the_name_aside_cannot_catch_the_secret() -> None:
    # In a directory that others can write, as /tmp without its sticky bit.
    with ordinary() as directory:
        directory.chmod(0o777)
        names: set[str] = set()
        for number in range(3):
            published(directory / "record.json", replace(RECORD, nonce=str(number)))
            names |= {item.name for item in directory.iterdir()}
        assert names == {"record.json"}
