"""What Dask makes of the TLS material."""

from __future__ import annotations

from dask_runner.programs import dask_tls


def test_without_material_there_is_no_security() -> None:
    assert dask_tls.as_security("", "") is None
