"""What the tests of Dask's connections share: keys, and one that sends back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from distributed.comm import CommClosedError, listen

from dask_runner.meeting import tls
from dask_runner.programs.dask_tls import as_security

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CERTIFICATE, KEY = tls.material()
LOOPBACK = "tls://127.0.0.1"
SECONDS = 30.0


def security(certificate: str = CERTIFICATE, key: str = KEY) -> Any:
    """Return keys as Dask has them; this puts our connections in place of Dask's."""
    return as_security(certificate, key)


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """Send back what comes; yield the address."""

    async def echo(comm: Any) -> None:
        with contextlib.suppress(CommClosedError):
            while True:
                await comm.write(await comm.read())

    keys = security().get_listen_args("worker")
    listener = await listen(LOOPBACK, echo, **keys)
    try:
        yield listener.contact_address
    finally:
        listener.stop()


def play(coroutine: Any) -> Any:
    """Run a coroutine to its end, within :data:`SECONDS`."""

    async def within() -> Any:
        async with asyncio.timeout(SECONDS):
            return await coroutine

    return asyncio.run(within())
