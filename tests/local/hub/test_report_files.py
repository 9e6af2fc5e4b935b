"""What a process leaves that is killed while it writes a report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dask_runner.hub import report_files
from dask_runner.hub.report_files import LEFT_SECONDS, ours

if TYPE_CHECKING:
    from pathlib import Path

#: Is killed when it has written a half.
HALF = """
import os, sys
from dask_runner.hub import report_files
if sys.argv[2] == "named":
    del os.O_TMPFILE
    os.O_TMPFILE = os.O_DIRECTORY  # as where all files have names: EISDIR
(file,) = report_files.ours([sys.argv[1]], "")
with file.replaced() as descriptor:
    os.write(descriptor, b"half")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["nameless", "named"])
def test_the_earlier_one_stays_and_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    (file,) = ours([str(tmp_path / "r.json")], "")
    file.write("whole")
    done = subprocess.run(
        [sys.executable, "-c", HALF, file.path, how], check=False, timeout=60
    )

    assert done.returncode == -signal.SIGKILL
    assert file.path.read_text() == "whole"
    left = [one for one in tmp_path.iterdir() if one != file.path]
    if how == "nameless":
        assert left == []
        return
    (half,) = left
    monkeypatch.setattr(report_files.os, "O_TMPFILE", os.O_DIRECTORY)
    file.write("next")
    assert half.exists()  # another may write it now
    then = half.stat().st_mtime - LEFT_SECONDS - 1
    os.utime(half, (then, then))
    file.write("last")
    assert file.path.read_text() == "last"
    assert list(tmp_path.iterdir()) == [file.path]
