"""Logs in a directory of the user's."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.node import kept_logs
from dask_runner.node.kept_logs import KeptLogs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a directory in which all may write; pytest's are below a private one."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o777)
    yield made
    made.rmdir()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_names_of_job_and_process_are_put_in(tmp_path: Path) -> None:
    logs = KeptLogs(f"{tmp_path}/{{job_id}}/{{worker}}", "7")
    assert logs.make("3", "worker-3") == tmp_path / "7/3/worker-3.log"
    assert logs.make("agent-c1", "agent-c1") == tmp_path / "7/agent-c1/agent-c1.log"


def test_directories_and_files_that_are_made_are_the_users_alone(
    tmp_path: Path,
) -> None:
    before = os.umask(0)
    try:
        made = KeptLogs(str(tmp_path / "logs" / "7"), "").make("3", "worker-3")
    finally:
        os.umask(before)
    assert mode(made) == 0o600
    assert mode(made.parent) == mode(made.parent.parent) == 0o700


def test_the_mode_of_a_directory_that_is_there_is_the_users_affair(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)
    made = KeptLogs(str(tmp_path), "7").make("3", "worker-3")
    assert mode(tmp_path) == 0o755
    assert mode(made) == 0o600


def test_files_from_before_stay_and_the_new_one_has_a_number(tmp_path: Path) -> None:
    (tmp_path / "worker-3.log").write_text("before")
    (tmp_path / "worker-3.2.log").symlink_to("/dev/null")
    logs = KeptLogs(str(tmp_path), "7")
    assert logs.make("3", "worker-3") == tmp_path / "worker-3.3.log"
    assert logs.make("3", "worker-3") == tmp_path / "worker-3.4.log"
    assert (tmp_path / "worker-3.log").read_text() == "before"


def test_a_name_leads_to_no_other_directory(tmp_path: Path) -> None:
    made = KeptLogs(str(tmp_path), "7").make("a", "worker-../../x")
    assert made == tmp_path / "worker-.._.._x.log"


def test_a_directory_where_others_rename_files_is_refused(shared: Path) -> None:
    with pytest.raises(ConfigError, match="other accounts may replace the logs") as it:
        KeptLogs(str(shared), "7").make("3", "worker-3")
    assert it.value.do == "name another one with --log-directory DIR"


def test_a_home_of_nobody_is_told() -> None:
    with pytest.raises(ConfigError, match="no log can be made in ~no-such-user"):
        KeptLogs("~no-such-user/logs", "7").make("3", "worker-3")


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_what_is_no_directory_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="no log can be made in"):
        KeptLogs(str(tmp_path / place), "7").make("3", "worker-3")


def test_there_is_an_end_to_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_logs, "MOST", 2)
    logs = KeptLogs(str(tmp_path), "7")
    for _ in range(2):
        logs.make("3", "worker-3")
    with pytest.raises(ConfigError, match="2 files of worker-3 are there"):
        logs.make("3", "worker-3")
