"""Dask's report of a program shows its code, and is not in the way of its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from distributed import LocalCluster

from dask_runner.programs.default_client import DefaultClient
from dask_runner.programs.html_report import GONE, reported
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class LosesItsCluster(DefaultClient):
    """A client whose cluster ends just as the report of it begins."""

    def __init__(self, cluster: LocalCluster) -> None:
        super().__init__(cluster.scheduler_address)
        self.theirs = cluster
        self.ends = False

    @contextlib.contextmanager
    def as_current(self) -> Iterator[None]:
        if self.ends:
            self.theirs.close()
            until(lambda: self.status == "closed", 10)
        with super().as_current():
            yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as found:
        yield found


def test_the_report_shows_the_code_that_it_is_told(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    path = tmp_path / "r.html"
    with (
        DefaultClient(cluster.scheduler_address) as client,
        reported(client, path, "# what has run"),
    ):
        assert client.submit(sum, [1, 2]).result() == 3
        assert not path.exists()
    assert "# what has run" in path.read_text()


def test_a_scheduler_that_dies_as_it_makes_the_report_is_told_as_a_cluster_that_is_gone(
    cluster: LocalCluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dies(comm: Any, **_: object) -> str:
        comm.abort()
        return "dont-reply"

    path = tmp_path / "r.html"
    with DefaultClient(cluster.scheduler_address) as client:
        monkeypatch.setitem(cluster.scheduler.handlers, "performance_report", dies)
        with reported(client, path, ""):
            pass
    said = capsys.readouterr().err
    assert said == f"dask-runner: warning: --report {path} was not written: {GONE}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_ends_as_the_report_begins_is_told_and_no_more(
    cluster: LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.html"
    client: Any = LosesItsCluster(cluster)
    with reported(client, path, ""):
        client.ends = True
    said = capsys.readouterr().err
    assert said == f"dask-runner: warning: --report {path} was not written: {GONE}\n"
    assert list(tmp_path.iterdir()) == []
