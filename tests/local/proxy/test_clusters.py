"""Where requests go, where all clusters of the user are shown."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_runner.meeting import cluster_directory
from dask_runner.proxy.clusters import All, Goal
from dask_runner.proxy.html import Answer
from tests.local.proxied import Proxied, playing

if TYPE_CHECKING:
    from pathlib import Path


def found_of(there: Proxied, home: Path, *names: str) -> All:
    """Write the cluster of a play into a cluster directory, under some names."""
    environ = {"HOME": str(home)}
    for name in names:
        named = replace(there.cluster.named, name=name)
        assert cluster_directory.claim(cluster_directory.path_of(name, environ), named)
    return All(None, environ)


async def page(clusters: All, target: str) -> tuple[str, str, str]:
    goal = await clusters.find(target)
    assert isinstance(goal, Goal), goal
    return goal.entry.name, goal.page.target, goal.page.prefix


async def answer(clusters: All, target: str) -> Answer:
    found = await clusters.find(target)
    assert isinstance(found, Answer), found
    return found


def test_each_cluster_is_below_its_name_and_the_only_one_without(
    tmp_path: Path,
) -> None:
    async def play(there: Proxied) -> None:
        clusters = found_of(there, tmp_path, "lab")

        assert await page(clusters, "/lab/status?x") == ("lab", "/status?x", "/lab")
        assert await page(clusters, "/status") == ("lab", "/status", "")
        assert (await answer(clusters, "/lab")).headers["Location"] == "lab/status"

    playing(play)


def test_of_two_clusters_the_name_is_asked_for_unless_one_was_chosen(
    tmp_path: Path,
) -> None:
    async def play(there: Proxied) -> None:
        clusters = found_of(there, tmp_path, "a", "b")

        assert await page(clusters, "/b/status") == ("b", "/status", "/b")
        several = await answer(clusters, "/status")
        assert several.code == 404
        assert "2 clusters, and no name: a, b" in several.body
        chosen = replace(clusters, name="a")
        assert await page(chosen, "/status") == ("a", "/status", "")

    playing(play)


def test_the_list_has_each_cluster_and_whether_it_answers(tmp_path: Path) -> None:
    async def play(there: Proxied) -> None:
        clusters = found_of(there, tmp_path, "lab")
        lines = (await answer(clusters, "/")).body
        assert 'href="lab/status"' in lines
        assert "1 worker<" in lines

        cluster_directory.path_of("odd", clusters.environ).write_text("{}")
        lines = (await answer(clusters, "/")).body
        assert 'href="lab/status"' in lines
        assert "odd" in lines
        assert 'href="odd' not in lines

        await asyncio.wait_for(there.stage.hub.shut(), 5)
        assert "no answer: nothing listens there" in (await answer(clusters, "/")).body

    playing(play)


def test_without_a_cluster_the_list_is_empty_and_pages_are_told_so(
    tmp_path: Path,
) -> None:
    clusters = All(None, {"HOME": str(tmp_path)})

    assert "No Dask cluster" in asyncio.run(answer(clusters, "/")).body
    told = asyncio.run(answer(clusters, "/status"))
    assert told.code == 404
    assert "dask-runner serve" in told.body


def test_without_a_home_that_is_told() -> None:
    assert "HOME is not set" in asyncio.run(answer(All(None, {}), "/lab/status")).body
