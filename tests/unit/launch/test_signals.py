"""The signals are declared once, and copied where nothing is imported."""

from __future__ import annotations

import signal

from dask_runner.launch import signals
from dask_runner.node import follower


def test_the_follower_has_the_same_signals() -> None:
    assert follower.ENDS == signals.ENDS_THE_CLUSTER
    assert follower.SIGNALS == signals.FOR_THE_TOP


def test_the_script_gets_no_signal_that_ends_the_cluster() -> None:
    assert not {*signals.FOR_THE_SCRIPT} & {*signals.ENDS_THE_CLUSTER}


def test_nobody_blocks_what_only_the_kernel_may_decide() -> None:
    assert not {*signals.FOR_A_COMMAND} & {signal.SIGKILL, signal.SIGSTOP}
