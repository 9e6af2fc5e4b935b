"""Each test leaves Dask's table of connections as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from distributed.comm import backends

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """Leave Dask's own table to the other tests."""
    before = dict(backends)
    yield
    backends.update(before)
