"""dask-ctl's way to your clusters: ``dask cluster list``, ``scale``, ``delete``.

dask-ctl finds :func:`discover` by the entry point ``dask_cluster_discovery``. It calls
``from_name`` of the class with each name, and means the end of a cluster by ``close``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dask_runner.attach import clusters
from dask_runner.library.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Discovered(Cluster):
    """A running cluster, as dask-ctl handles it."""

    def close(self, timeout: float | None = None) -> Any:
        """End the cluster: that is what ``dask cluster delete`` calls."""
        self.shutdown_on_close = True
        return super().close(timeout)

    def get_snippet(self) -> str:
        """Return what ``dask cluster snippet`` prints."""
        return (
            "from dask.distributed import Client\n"
            "from dask_runner import Cluster\n"
            "\n"
            f"cluster = Cluster.from_name({self.name!r})\n"
            "client = Client(cluster)\n"
        )


async def discover() -> AsyncIterator[tuple[str, type[Cluster]]]:
    """Find your clusters that answer.

    Yields
    ------
    (str, type)
        A name, and the class that attaches to it.
    """
    for one in await clusters.look(os.environ):
        if one.state is not None:
            yield one.entry.name, Discovered
