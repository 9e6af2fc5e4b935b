"""The TLS material: what Dask makes of it, and who can read it."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest
from cryptography import x509

from dask_runner.meeting import tls

CERTIFICATE, KEY = tls.material()


def test_it_is_valid_whatever_the_clocks_of_the_nodes_say() -> None:
    made = x509.load_pem_x509_certificate(CERTIFICATE.encode())
    now = dt.datetime.now(dt.UTC)
    assert made.not_valid_before_utc < now - dt.timedelta(days=3650)
    assert made.not_valid_after_utc > now + dt.timedelta(days=3650)


def test_each_cluster_has_its_own() -> None:
    assert tls.material()[1] != KEY


def write(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        tls.write(descriptor, CERTIFICATE, KEY)
    finally:
        os.close(descriptor)


def test_files_and_directory_are_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    files = list((tmp_path / "tls").iterdir())
    assert len(files) == 2
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_what_lies_there_already_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "tls").symlink_to(tmp_path)
    with pytest.raises(FileExistsError):
        write(tmp_path)


def test_what_is_lent_is_in_no_directory_and_gone_at_the_end() -> None:
    with tls.lent(CERTIFICATE, KEY) as variables:
        path = Path(variables["DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"].strip("'"))
        assert path.read_text() == KEY
        assert path.is_relative_to(f"/proc/{os.getpid()}/fd")

    assert not path.exists()
