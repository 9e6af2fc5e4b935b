"""``dask-runner stop``: end a cluster, and wait for the end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.attach.attachment import Attachment

if TYPE_CHECKING:
    from collections.abc import Mapping


def stop(name: str | None, timeout: float, environ: Mapping[str, str]) -> str:
    """End a cluster, and wait until its ranks have left; return what to say.

    Parameters
    ----------
    name : str or None
        None for the one cluster that the user has.
    timeout : float
        Seconds to wait for the end.
    environ : mapping

    Raises
    ------
    ConfigError
        If there are several clusters, or the record cannot be believed.
    UnavailableError
        If there is no such cluster, or it does not answer.
    AssemblyError
        If it has not ended in time.
    """
    attachment = Attachment.to(name, environ)
    asyncio.run(attachment.stop(timeout))
    return f"the cluster {attachment.entry.name!r} has ended"
