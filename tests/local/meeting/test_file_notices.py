"""Notices among the files of other users."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.file_notices import FileNotices
from tests.unit.records import KEY, NOTICE
from tests.users import NOBODY, ordinary

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Require


NAME = f"{KEY}.over"


def notices(directory: Path) -> FileNotices:
    return FileNotices(FileMeeting([directory / "record.json"], KEY), KEY, 4)


def test_where_nothing_can_be_written_the_clock_of_the_node_has_to_do() -> None:
    with ordinary() as directory:
        notices(directory).leave(NOTICE)
        directory.chmod(0o500)
        assert notices(directory).find() == NOTICE


def test_a_notice_of_somebody_else_is_not_believed(
    tmp_path: Path, require: Require
) -> None:
    notices(tmp_path).leave(NOTICE)
    with require("root, to give a file away", "local"):
        os.chown(tmp_path / NAME, NOBODY, NOBODY)

    assert notices(tmp_path).find() is None
