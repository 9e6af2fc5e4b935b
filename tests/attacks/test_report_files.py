"""What somebody else lays where the files of --report are to be."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.attacks.stranger import attack
from tests.local.test_bad_input import CONFIG, one_message

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner

LAY = """
target, link, fifo, file = sys.argv[1:]
os.symlink(target, link)
os.mkfifo(fifo, 0o666)
os.chmod(fifo, 0o666)
open(file, "w").write("theirs")
os.chmod(file, 0o666)
"""
LAY_A_LINK = "os.symlink(*sys.argv[1:])"


@pytest.mark.attack(
    "lays a link, a FIFO or a file of theirs under the names of your reports in a "
    "shared directory (`--report /tmp/r.json`)",
    "nothing: none is followed or opened; each report is a new file of yours",
)
def test_what_lies_where_a_report_is_to_be(
    dask_runner: DaskRunner, tmp_path: Path, shared: Path
) -> None:
    pytest.importorskip("bokeh")
    mine = tmp_path / "mine"
    mine.write_text("mine\n")
    reports = [shared / f"r{kind}" for kind in (".html", ".svg", ".json")]
    laid = attack(LAY, mine, *reports)
    assert laid.returncode == 0, laid.stderr

    given = [word for one in reports for word in ("--report", one)]
    ended = dask_runner(*given, "-c", "pass")

    assert ended.status == 0, ended
    assert mine.read_text() == "mine\n"
    for one in reports:
        found = one.lstat()
        assert stat.S_ISREG(found.st_mode), one
        assert found.st_uid == os.geteuid()
        assert found.st_size > 100
    assert sorted(shared.iterdir()) == sorted(reports)


@pytest.mark.attack(
    "lays a link to a directory of yours where the directory of your reports is to be, "
    "in a shared directory (`--report /tmp/reports/r.json`)",
    "an error (78) that names the link; nothing is written behind it",
)
def test_a_link_where_the_directory_of_a_report_is_to_be(
    dask_runner: DaskRunner, tmp_path: Path, shared: Path
) -> None:
    (tmp_path / "r.json").write_text("mine")
    laid = attack(LAY_A_LINK, tmp_path, shared / "reports")
    assert laid.returncode == 0, laid.stderr

    ended = dask_runner("--report", shared / "reports" / "r.json", "-c", "print(1)")

    one_message(ended, CONFIG, f"{shared / 'reports'} is a link of another account")
    assert ended.stdout == ""
    assert [one.read_text() for one in tmp_path.iterdir()] == ["mine"]
