"""``dask-runner stop``: end a cluster, and wait for the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.attach.attachment import Attachment

if TYPE_CHECKING:
    from collections.abc import Mapping


def stop(
    name: str | None, timeout: float, environ: Mapping[str, str], join: str = ""
) -> str:
    """End a cluster, and wait until its ranks have left; return what to say.

    Parameters
    ----------
    name : str or None
        None for the one cluster that the user has.
    timeout : float
        Seconds to wait for the end.
    environ : mapping
    join : str
        The join to end; empty for the whole cluster.

    Raises
    ------
    ConfigError
        If there are several clusters, if the record cannot be believed, or if there is
        no such join.
    UnavailableError
        If there is no such cluster, or it does not answer.
    AssemblyError
        If it has not ended in time.
    """
    attachment = Attachment.to(name, environ)
    asyncio.run(attachment.stop(timeout, join))
    if join:
        return f"join {join} of the cluster {attachment.entry.name!r} has left"
    return f"the cluster {attachment.entry.name!r} has ended"
