"""Another account at the file by which a job is queued again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub.requeue import ByJobScript
from tests.users import NOBODY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.attack(
    "writes the file that `DASKRUNNER_REQUEUE` names, where others can write too, or "
    "lays a link there, for your job to write elsewhere",
    "an error at the start, later one warning: the file is made anew, or not at all",
)
@pytest.mark.parametrize("link", [False, True])
def test_a_file_of_somebody_else_is_neither_written_nor_followed(
    tmp_path: Path, *, link: bool
) -> None:
    shared, mine = tmp_path / "shared", tmp_path / "mine"
    shared.mkdir()
    shared.chmod(0o1777)
    mine.write_text("precious")
    way = ByJobScript(shared / "again")
    way.check()  # nobody has been there yet

    if link:
        way.path.symlink_to(mine)
    else:
        way.path.write_text("theirs")
    os.chown(way.path, NOBODY, NOBODY, follow_symlinks=False)

    with pytest.raises(RunnerError, match="File exists"):
        way.ask()
    with pytest.raises(ConfigError, match="is there already"):
        way.check()
    assert mine.read_text() == "precious"
    assert link or way.path.read_text() == "theirs"
