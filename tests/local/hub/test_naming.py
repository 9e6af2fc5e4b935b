"""How rank 0 keeps its cluster's name, beside clusters that live, stand or are dead."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.hub import messages as m
from dask_runner.hub import naming, requests
from dask_runner.hub.naming import Naming, be_named
from dask_runner.meeting import cluster_directory, which_cluster
from tests.local.served import HERE, Served, silent_port
from tests.unit.records import NAMED, RECORD, world
from tests.unit.stage import all_leave, playing, ready

if TYPE_CHECKING:
    from pathlib import Path

    from dask_runner.meeting.record import Record


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path)}


def lay(environ: dict[str, str], record: Record, name: str = "lab") -> Path:
    path = cluster_directory.path_of(name, environ)
    assert cluster_directory.claim(path, replace(NAMED, name=name, record=record))
    return path


def new(environ: dict[str, str], name: str | None = "lab") -> Naming:
    return Naming(world(), name, environ, replace(RECORD, nonce="new"))


def nonces(environ: dict[str, str]) -> dict[str, str]:
    return {
        entry.name: entry.found.record.nonce
        for entry in cluster_directory.entries(environ)
        if entry.found is not None
    }


def test_a_name_is_taken_completed_and_given_back(environ: dict[str, str]) -> None:
    async def play() -> None:
        own = new(environ)
        await own.claim()
        assert (own.name, nonces(environ)) == ("lab", {"lab": "new"})
        own.add_address("tls://10.1.0.1:8786")
        _, named = which_cluster.choose("lab", environ)
        assert named.record.address == "tls://10.1.0.1:8786"
        assert named.began > 0
        own.withdraw()
        assert nonces(environ) == {}

    asyncio.run(play())


def test_the_name_of_a_cluster_that_answers_is_refused(environ: dict[str, str]) -> None:
    async def play(stage: Served) -> None:
        lay(environ, stage.record())
        with pytest.raises(ConfigError, match="'lab' is running on " + HERE):
            await new(environ).claim()
        assert nonces(environ) == {"lab": "n"}

    playing(1, kind=Served)(play)


def test_a_cluster_that_answers_with_an_error_runs_as_well(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "VERSION", 99)  # of that cluster

    async def play(stage: Served) -> None:
        lay(environ, stage.record())
        with pytest.raises(ConfigError, match="'lab' is running on " + HERE):
            await new(environ).claim()

    playing(1, kind=Served)(play)


def test_a_second_cluster_of_a_job_has_a_number(environ: dict[str, str]) -> None:
    async def play(stage: Served) -> None:
        lay(environ, stage.record(), "4711")
        own = new(environ, None)
        await own.claim()
        assert nonces(environ) == {"4711": "n", "4711-2": "new"}

    playing(1, kind=Served)(play)


def test_the_name_of_a_cluster_that_was_killed_is_taken_over_at_once(
    environ: dict[str, str],
) -> None:
    async def play(stage: Served) -> None:
        lay(environ, stage.record())
        await stage.hub.shut()
        await new(environ).claim()
        assert nonces(environ) == {"lab": "new"}

    playing(1, kind=Served)(play)


def test_a_cluster_at_the_loopback_of_another_machine_keeps_its_name(
    environ: dict[str, str],
) -> None:
    """As in a container of its own: nothing here says whether it lives."""

    async def play(stage: Served) -> None:
        path = lay(environ, replace(stage.record(), node="c1"))
        await stage.hub.shut()
        with pytest.raises(ConfigError, match="that is the loopback of c1 alone"):
            await new(environ).claim()
        assert nonces(environ) == {"lab": "n"}
        os.utime(path, (1, 1))
        await new(environ).claim()
        assert nonces(environ) == {"lab": "new"}

    playing(1, kind=Served)(play)


def test_a_cluster_that_is_silent_keeps_its_name_until_it_is_stale(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "QUICK_SECONDS", 0.2)

    async def play(stage: Served) -> None:
        async with silent_port() as port:
            path = lay(environ, replace(stage.record(), port=port))
            with pytest.raises(ConfigError, match="and does not answer: no answer wi"):
                await new(environ).claim()
            os.utime(path, (1, 1))
            await new(environ).claim()
            assert nonces(environ) == {"lab": "new"}

    playing(1, kind=Served)(play)


def test_a_file_that_cannot_be_believed_is_not_removed(environ: dict[str, str]) -> None:
    path = lay(environ, RECORD)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others") as error:
        asyncio.run(new(environ).claim())
    assert f"rm {path}" in error.value.do
    assert path.exists()


def test_a_file_that_was_removed_is_written_again(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "REFRESH_SECONDS", 0.01)

    async def play() -> None:
        own = new(environ)
        await own.claim()
        keeping = asyncio.create_task(own.keep())
        cluster_directory.path_of("lab", environ).unlink()
        async with asyncio.timeout(20):
            while not nonces(environ):  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.01)
        keeping.cancel()
        own.withdraw()

    asyncio.run(play())


def test_a_cluster_that_has_lost_its_name_goes_on(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "REFRESH_SECONDS", 0.01)

    async def play(stage: Served) -> None:
        ranks = await ready(stage, 2)
        own = new(environ)
        keeping = be_named(own, stage.state.shared, stage.state.fail)
        kept = asyncio.create_task(keeping)
        await stage.until(lambda: own.name)
        place = cluster_directory.path_of("lab", environ).parent
        shutil.rmtree(place)
        place.write_text("no directory")
        await kept
        (warning,) = stage.said.warnings
        assert warning.startswith("nothing can attach to this cluster any more: ")
        assert not stage.finished.done()
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0

    playing(2, kind=Served, name="lab")(play)


@pytest.mark.parametrize(
    ("home", "why"), [(None, "HOME is not set"), ("file", "Not a directory")]
)
def test_a_home_that_takes_no_file_is_told(
    tmp_path: Path, home: str | None, why: str
) -> None:
    (tmp_path / "file").write_text("")
    environ = {} if home is None else {"HOME": str(tmp_path / home)}
    with pytest.raises(ConfigError, match=why):
        asyncio.run(new(environ).claim())
