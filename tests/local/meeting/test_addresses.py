"""Addresses as this machine's own resolver tells them."""

from __future__ import annotations

from dask_runner.meeting import addresses


def test_a_name_that_does_not_resolve_has_no_address() -> None:
    assert addresses._resolved("no-such-name.invalid") == []  # noqa: SLF001
