"""Keep Dask from logging what a program that uses a cluster is told in one line."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from distributed.comm import CommClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator


def tells_more_than_a_loss(line: logging.LogRecord) -> bool:
    """Return whether a line is no traceback for a cluster's end; a filter of a logger.

    Dask logs one where a client was sending something as the scheduler went.
    """
    return not (line.exc_info and isinstance(line.exc_info[1], CommClosedError))


@contextmanager
def without_cancellations() -> Iterator[None]:
    """Keep Dask from logging that a client does not try to connect any more."""

    def is_wanted(line: logging.LogRecord) -> bool:
        return not line.exc_info or line.exc_info[0] is not asyncio.CancelledError

    logger = logging.getLogger("distributed.client")
    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)
