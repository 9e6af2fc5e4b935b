"""How a user reaches the dashboard: the text of the start line, and the link.

The dashboard listens on a Unix socket that only the user can open, so a browser needs
``dask-runner dashboard`` or a tunnel; or on a port that the user has asked for.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from dask_runner.hub.messages import SchedulerUp

#: The port on the user's own machine at which the tunnel begins: Dask's default.
LOCAL_PORT = 8787

_PAGE = "status"
_LOOPBACK = ("http://127.", "https://127.", "http://[::1]", "https://[::1]")


def told(
    scheduler: SchedulerUp, place: str, name: str = "", *, launched: bool
) -> tuple[str, str]:
    """Return the dashboard's link, and the start line's text about it.

    Parameters
    ----------
    scheduler : SchedulerUp
    place : str
        Where the scheduler runs, as ``USER@NODE``.
    name : str
        The cluster's; empty if it has none.
    launched : bool
        Whether a launcher has started the ranks, which then run on other machines.

    Returns
    -------
    (str, str)
        Both empty if there is no dashboard. A link that needs a tunnel has the command
        behind a ``#``, which a browser does not send.
    """
    at = scheduler.dashboard
    if not at:
        return "", ""
    if at.startswith("/"):
        return _by_tunnel(at, place, name, launched=launched)
    said = f"{scheduler.readers} can read it"
    if at.startswith(_LOOPBACK):
        host, _, port = at.partition("://")[2].rpartition(":")
        said += f"; from elsewhere: ssh -N -L {port}:{host}:{port} {place}"
    return f"{at}/{_PAGE}", f"dashboard {at}/{_PAGE} ({said})"


def _by_tunnel(path: str, place: str, name: str, *, launched: bool) -> tuple[str, str]:
    # ssh splits the argument at colons, so those in the path are escaped.
    end = shlex.quote(f"{LOCAL_PORT}:" + re.sub(r"([\\:])", r"\\\1", path))
    tunnel = f"ssh -N -L {end} {place}"
    link = f"http://127.0.0.1:{LOCAL_PORT}/{_PAGE}"
    easier = f"dask-runner dashboard {name}"
    if launched:
        line = f"dashboard: {easier}; or" if name else "dashboard"
        return f"{link}#first: {tunnel}", f"{line} {link} after: {tunnel}"
    opened = f"start with --dashboard-address 127.0.0.1:{LOCAL_PORT}"
    opened = easier if name else opened
    line = f"dashboard: for a browser here, {opened}; from elsewhere: {link} after "
    return f"unix:{path} (for a browser, {opened})", line + tunnel


def has_none(cluster: str) -> ConfigError:
    """Return the error of a cluster without a dashboard; *cluster* names it."""
    return ConfigError(
        f"{cluster} has no dashboard",
        "a cluster with one: bokeh in its image, and not --no-dashboard",
        "start it with an image that has bokeh, and without --no-dashboard",
    )
