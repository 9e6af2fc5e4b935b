"""Work in threads, also where the system gives no thread any more (RLIMIT_NPROC).

The limit is for all processes of the user's on a node. Tasks of the script, or another
job, may come to it while a cluster runs, which goes on then.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

#: The text of threading's error when the system refuses a thread. It is a RuntimeError
#: without a number.
NO_THREAD = "can't start new thread"


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Call a function that may take long in a thread, or else here.

    Where there was no thread for it, a later thread may call it again.
    """
    began = False

    def call() -> T:
        nonlocal began
        began = True
        return function(*args)

    try:
        return await asyncio.to_thread(call)
    except RuntimeError as error:
        if began or str(error) != NO_THREAD:
            raise
    return function(*args)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, as asyncio.run; return its result.

    At its own end asyncio starts a thread to wait for others. Where it gets none, the
    result is there nevertheless.
    """
    results: list[T] = []

    async def keep() -> None:
        results.append(await main)

    try:
        asyncio.run(keep())
    except RuntimeError as error:
        if not results or str(error) != NO_THREAD:
            raise
    return results[0]
