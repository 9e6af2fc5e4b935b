"""What jupyter-server-proxy needs to show the dashboards in Jupyter.

It starts ``dask-runner dashboard --socket`` when somebody first opens
``…/proxy/dask-runner/``, checks who that is, and passes requests on to the socket,
which nobody else can open (its entry point ``jupyter_serverproxy_servers``). Below
``proxy/``, because the panes of dask-labextension show such links alone: all others
they try to reach at a port.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from dask_runner.launch.own_variables import JUPYTER_VARIABLE

#: Seconds until the socket answers: Python may start from a busy file server.
SECONDS = 30


def server() -> dict[str, Any]:
    """Return the settings of a server, as jupyter-server-proxy names them.

    What Jupyter starts from now on knows its prefix, and makes links of it.
    """
    # Jupyter's server, in whose process this runs, has no other way to tell.
    if serverapp := sys.modules.get("jupyter_server.serverapp"):
        os.environ[JUPYTER_VARIABLE] = serverapp.ServerApp.instance().base_url
    # Braces have a meaning there. -P: the directory that Jupyter works in may hold
    # anything, and nothing of it is to be imported.
    python = sys.executable.replace("{", "{{").replace("}", "}}")
    return {
        "command": [
            *(python, "-P", "-m", "dask_runner", "dashboard"),
            *("--socket", "{unix_socket}", "--with-parent"),
        ],
        "unix_socket": True,
        "timeout": SECONDS,
        # Jupyter has checked that the page is its own. We know loopback alone.
        "request_headers_override": {
            "Host": "localhost",
            "Origin": "http://localhost",
            "Sec-Fetch-Site": "same-origin",
        },
        "launcher_entry": {"title": "Dask clusters"},
        "new_browser_tab": True,
    }
