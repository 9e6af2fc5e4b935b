"""The files by which a Prometheus server finds a cluster, and may read its metrics."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.proxy.scraping import Scraping

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def test_the_file_names_the_port_while_that_is_open_and_is_ours_alone(
    environ: dict[str, str],
) -> None:
    scraping = Scraping.of("lab", environ)
    with scraping.at(8787):
        told = json.loads(scraping.targets.read_text())
        assert told == [{"targets": ["127.0.0.1:8787"], "labels": {"cluster": "lab"}}]
        for path in (scraping.targets, scraping.credentials):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not scraping.targets.exists()


def test_all_clusters_of_a_user_have_one_token_and_hosts_have_files_of_their_own(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Scraping.of("a", environ), Scraping.of("b", environ)
    monkeypatch.setattr("socket.gethostname", lambda: "login2")
    there = Scraping.of("a", environ)

    assert one.token == other.token == there.token
    assert one.credentials.read_text().strip() == one.token
    assert len({one.targets, other.targets, there.targets}) == 3


def test_the_file_of_a_later_command_is_left_alone(environ: dict[str, str]) -> None:
    first, second = Scraping.of("lab", environ), Scraping.of("lab", environ)
    with second.at(2):
        with first.at(1):
            second.targets.write_text("changed")
        assert second.targets.read_text() == "changed"


@pytest.mark.parametrize("how", ["readable", "link", "empty", "directory"])
def test_a_token_that_is_not_ours_alone_is_refused(
    environ: dict[str, str], tmp_path: Path, how: str
) -> None:
    path = Scraping.of("lab", environ).credentials
    if how == "readable":
        path.chmod(0o644)
    elif how == "empty":
        os.truncate(path, 0)
    else:
        path.unlink()
        path.symlink_to(tmp_path / "x") if how == "link" else path.mkdir()

    with pytest.raises(ConfigError, match="prometheus-token"):
        Scraping.of("lab", environ)
