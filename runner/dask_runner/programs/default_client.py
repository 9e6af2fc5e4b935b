"""The client of a script that makes none: ``.compute()`` alone uses the cluster."""

from __future__ import annotations

from typing import Any

from distributed import Client


class DefaultClient(Client):  # type: ignore[misc]  # Dask has no type information
    """A client that is the default until the user makes one, and is quiet."""

    async def _reconnect(self) -> None:
        # The script has shut the cluster down, or it is lost and we end: there is
        # nothing to reconnect to, nor to complain about.
        await self._close()


def connect(address: str, security: Any) -> DefaultClient:
    """Return a default client of the scheduler at an address."""
    client = DefaultClient(address, name="dask-runner", security=security)
    # Dask finds it without the setting, of which the user's own may be another. And
    # a client of theirs that ends after this one would put the setting back.
    with client._set_config:  # noqa: SLF001  as its end does
        pass
    return client
