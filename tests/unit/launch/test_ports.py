"""The ports of ``--ports``, in the words of Dask and of messages."""

from __future__ import annotations

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch import ports, values
from dask_runner.launch.settings import settle


def test_a_range_has_its_first_and_its_last() -> None:
    assert list(ports.numbers("20000-20002")) == [20000, 20001, 20002]
    assert ports.for_dask("20000-20002") == "20000:20002"


def test_one_port_is_a_range() -> None:
    assert values.ports(20000) == values.ports("20000") == "20000-20000"
    assert ports.for_dask("20000-20000") == 20000


def test_without_a_range_the_system_chooses() -> None:
    assert list(ports.numbers(None)) == [0]


def test_a_range_that_is_too_small_for_a_rank_is_refused() -> None:
    settings = settle({"ports": "20000-20004"}, {})
    ports.check(settings, 2, 5)
    with pytest.raises(ConfigError, match="--ports 20000-20004 for 6 servers"):
        ports.check(settings, 2, 6)
    ports.check(settle({}, {}), 1000, 2000)


def test_where_no_port_is_free_who_needs_them_is_told() -> None:
    error = ports.none_free("the scheduler", "20000-20004")
    assert error.status == 75
    assert "the scheduler" in error.saw
    assert "--ports 20000-20004" in error.saw
