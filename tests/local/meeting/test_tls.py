"""What any process of Dask makes of the variables that name the TLS material."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dask_runner.meeting import tls
from tests.programs import printed

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATE, KEY = tls.material()


def write(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        tls.write(descriptor, CERTIFICATE, KEY)
    finally:
        os.close(descriptor)


def test_the_variables_give_the_material_to_any_dask_process(tmp_path: Path) -> None:
    write(tmp_path)
    code = (
        "from distributed import Security\n"
        "security = Security()\n"
        "assert security.require_encryption\n"
        "for role in ('scheduler', 'worker', 'client'):\n"
        "    assert security.get_connection_args(role)['ssl_context']\n"
        "print(security.tls_ca_file)\n"
    )
    variables = tls.variables(*tls.in_directory(tmp_path / "tls"))
    told = printed(code, {"HOME": str(tmp_path), **variables})
    assert told == str(tmp_path / "tls" / "certificate.pem")
