"""Which lines of Dask's log are dropped, and which stay."""

from __future__ import annotations

import asyncio
import logging

import pytest
from distributed.comm import CommClosedError

from dask_runner.library.quiet_dask import (
    tells_more_than_a_loss,
    without_cancellations,
)

CLIENT = logging.getLogger("distributed.client")


def line(error: BaseException | None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, None)
    return logging.LogRecord("d", logging.ERROR, "", 0, "it broke", None, info)


def test_a_traceback_of_the_end_of_a_cluster_is_dropped() -> None:
    assert not tells_more_than_a_loss(line(CommClosedError("it went")))


@pytest.mark.parametrize("error", [None, ValueError("a mistake"), OSError("a disk")])
def test_all_other_lines_stay(error: Exception | None) -> None:
    assert tells_more_than_a_loss(line(error))


def test_cancellations_are_dropped_for_a_while() -> None:
    cancelled, mistake = line(asyncio.CancelledError()), line(ValueError("a mistake"))

    with without_cancellations():
        assert not CLIENT.filter(cancelled)
        assert CLIENT.filter(mistake)
    assert CLIENT.filter(cancelled)
