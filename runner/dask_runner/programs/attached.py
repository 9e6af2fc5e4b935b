"""The program of ``dask-runner connect``: one more client of a running cluster.

This process is a new Python and a child of ``dask-runner connect``, which holds signals
back until it has begun. It receives what a client of the cluster's own launch receives
(:mod:`dask_runner.programs.client`), and runs a script, or becomes a command.
"""

from __future__ import annotations

import signal

from dask_runner import linux
from dask_runner.launch.signals import FOR_A_COMMAND
from dask_runner.programs import client, lifeline


def main() -> None:
    """Run the program as a client of the cluster."""
    # Before anything is received: if the parent has died by then, nothing is.
    linux.die_with_parent(signal.SIGKILL)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C ends it without a traceback until the program begins.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_A_COMMAND)
    client.begin(lifeline.blocking_channel())


if __name__ == "__main__":
    main()
