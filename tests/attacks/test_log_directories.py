"""What somebody else lays where our logs are to be."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.attacks.stranger import STRANGER, attack
from tests.local.test_bad_input import CONFIG, one_message

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner

LAY = """
target, *names = sys.argv[1:]
for name in names:
    os.symlink(target, name)
"""
READ = """
for name in sys.argv[1:]:
    try:
        print(open(name).read())
    except PermissionError:
        print("no")
"""
SAYS = "from distributed import Client; Client().run(print, 'a secret')"


@pytest.mark.attack(
    "lays links under the names of logs in a shared directory (`--log-directory /tmp`)",
    "nothing: each log is a new file of yours alone, under a name that is free",
)
def test_a_link_where_a_log_is_to_be(
    dask_runner: DaskRunner, tmp_path: Path, shared: Path
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("mine\n")
    names = [shared / f"{name}.log" for name in ("scheduler", "worker-0")]
    laid = attack(LAY, mine, *names)
    assert laid.returncode == 0, laid.stderr

    ended = dask_runner("--log-directory", shared, "-c", SAYS)

    assert ended.status == 0, ended
    assert mine.read_text() == "mine\n"
    own = [shared / "scheduler.2.log", shared / "worker-0.2.log"]
    assert "a secret" in own[1].read_text()
    assert {stat.S_IMODE(one.stat().st_mode) for one in own} == {0o600}
    assert attack(READ, *own).stdout == "no\nno\n"


@pytest.mark.attack(
    "owns the directory of logs, or may rename in it, or has laid a link in its place",
    "an error (78) that says who may replace the logs; none is written",
)
@pytest.mark.parametrize("how", ["owner", "rename", "link"])
def test_a_directory_of_somebody_elses(
    dask_runner: DaskRunner, tmp_path: Path, shared: Path, how: str
) -> None:
    logs = shared / "logs"
    if how == "link":
        laid = attack(LAY, tmp_path, logs)
        assert laid.returncode == 0, laid.stderr
    else:
        logs.mkdir()
        logs.chmod(0o777)
    if how == "owner":
        os.chown(logs, STRANGER, STRANGER)

    ended = dask_runner("--log-directory", logs, "-c", SAYS)

    one_message(ended, CONFIG, "other accounts may replace the logs in")
    assert not [*tmp_path.glob("*.log"), *logs.glob("*.log")]
