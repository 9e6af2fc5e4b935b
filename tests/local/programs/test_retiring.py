"""The scheduler retires those that cost least, and says who stays."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from distributed import Client, LocalCluster, get_client, secede

from dask_runner.programs.retiring import retire

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

NAMES = ["0", "1", "2"]


def playing(play: Callable[[Any, Client], Coroutine[Any, Any, None]]) -> None:
    """Run a play with Dask's own scheduler and three workers."""

    async def main() -> None:
        async with (
            LocalCluster(
                n_workers=3,
                threads_per_worker=1,
                asynchronous=True,
                dashboard_address=":0",
            ) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            await client.wait_for_workers(3)
            await play(cluster.scheduler, client)

    asyncio.run(main())


def test_the_one_that_is_idle_and_has_least_goes_first() -> None:
    async def play(scheduler: Any, client: Client) -> None:
        data = await client.scatter(b"x" * 1000, workers=[0], hash=False)
        more = await client.scatter(b"y" * 5000, workers=[1], hash=False)
        assert sorted(await retire(scheduler, 2, NAMES)) == ["0", "1"]
        assert await retire(scheduler, 1, NAMES) == ["1"]
        assert await client.gather([data, more]) == [b"x" * 1000, b"y" * 5000]

    playing(play)


def test_nobody_goes_where_enough_have_gone() -> None:
    async def play(scheduler: Any, client: Client) -> None:
        await client.retire_workers(["never"])
        assert sorted(await retire(scheduler, 3, NAMES)) == NAMES
        assert sorted(await retire(scheduler, 5, NAMES)) == NAMES
        assert await retire(scheduler, 0, ["1"]) == []
        assert sorted(await retire(scheduler, 2, NAMES)) == ["0", "2"]

    playing(play)


def test_a_worker_whose_task_waits_for_other_tasks_stays() -> None:
    async def play(scheduler: Any, client: Client) -> None:
        future = client.submit(outside, workers=[1])
        await scheduler_sees(lambda: scheduler.workers_to_close(n=3), 2)
        assert await retire(scheduler, 0, NAMES) == ["1"]
        await client.set_metadata("go", value=True)
        assert await future == 1

    playing(play)


async def scheduler_sees(those: Callable[[], list[str]], number: int) -> None:
    async with asyncio.timeout(30):
        while len(those()) != number:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.01)


def outside() -> int:
    """Leave the worker's threads, as a task does that waits for others."""
    secede()
    with get_client() as client:
        while not client.get_metadata("go", default=False):
            time.sleep(0.05)
    return 1
