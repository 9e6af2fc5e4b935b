"""How a Prometheus server of the user's finds a cluster's metrics, and may read them.

A file for its ``file_sd`` names the port of ``dask-runner dashboard`` while that runs,
and another has the token for its ``credentials_file``. Both are in the cluster
directory, where :mod:`dask_runner.meeting.record_file` keeps them from others. The
token is one for all clusters, because Prometheus reads one a job, and stays for the
next cluster.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dask_runner.errors import ConfigError
from dask_runner.meeting import cluster_directory, record_file
from dask_runner.meeting.record import BadRecordError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_BEGIN, _END = "prometheus-", ".json"
_TOKEN = "prometheus-token"  # noqa: S105  the name of its file


@dataclass(frozen=True, slots=True)
class Scraping:
    """The files of one cluster.

    Attributes
    ----------
    cluster : str
        Its name.
    targets, credentials : Path
        The files for ``file_sd`` and ``credentials_file``.
    token : str
    """

    cluster: str
    targets: Path
    credentials: Path
    token: str

    @classmethod
    def of(cls, cluster: str, environ: Mapping[str, str]) -> Self:
        """Return the files of a cluster; make the token if there is none.

        Raises
        ------
        ConfigError
            If it cannot be written, or others could have done it.
        """
        directory = cluster_directory.place(environ)
        # The port is one of this host's, and hosts may share the directory.
        name = f"{_BEGIN}{socket.gethostname()}-{cluster}{_END}"
        credentials = directory / _TOKEN
        with _told(credentials):
            record_file.write_if_absent(credentials, secrets.token_urlsafe(32))
            token = record_file.read(credentials).strip()
            if not token:
                raise BadRecordError("is empty")
        return cls(cluster, directory / name, credentials, token)

    @contextlib.contextmanager
    def at(self, port: int) -> Iterator[None]:
        """Have Prometheus read at a port of this host while the body runs.

        Raises
        ------
        ConfigError
            If the file cannot be written.
        """
        target = {
            "targets": [f"127.0.0.1:{port}"],
            "labels": {"cluster": self.cluster},
        }
        text = f"{json.dumps([target])}\n"
        with _told(self.targets):
            record_file.write(self.targets, text)
        try:
            yield
        finally:
            # It may be that of another command by now, or gone.
            with contextlib.suppress(OSError, BadRecordError):
                record_file.remove(self.targets, text.__eq__)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, BadRecordError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"--prometheus: {path} {why}",
            "a home directory in which only you write",
            "set HOME, or remove that file",
        ) from error
