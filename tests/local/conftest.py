"""What tests of clusters on this machine share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.local.serving import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Run


@pytest.fixture
def dying() -> Iterator[Run]:
    """Return a served cluster that a test ends."""
    with serving("--name", "lab") as run:
        yield run
