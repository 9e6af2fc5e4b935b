"""Signals: which end a cluster, which the script gets, and who handles them.

:mod:`dask_runner.node.follower` has a copy of what it needs, as it imports nothing.
"""

from __future__ import annotations

import signal

#: Signals that end a cluster. The script gets SIGTERM, and time for its own end.
ENDS_THE_CLUSTER = (signal.SIGTERM, signal.SIGINT)
#: Signals that the script gets and that do not end the cluster by themselves.
FOR_THE_SCRIPT = (signal.SIGUSR1, signal.SIGUSR2)
#: Signals that all processes of a job may get, and that the top process handles.
FOR_THE_TOP = (*ENDS_THE_CLUSTER, *FOR_THE_SCRIPT)
#: Those that ``dask-runner -n`` sends on to its ranks.
FOR_LOCAL_RANKS = (*FOR_THE_TOP, signal.SIGHUP)
#: Those that ``dask-runner connect`` sends on to its program.
FOR_A_COMMAND = (*FOR_LOCAL_RANKS, signal.SIGQUIT)
