"""A rank's private directory, and what its processes are given from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.own_variables import inherited
from dask_runner.meeting import tls
from dask_runner.resources import private_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.meeting.record import Record
    from dask_runner.node.kept_logs import KeptLogs

#: Lines of a process's log that the report of its failure shows.
TAIL = 10


#: How the names of such directories begin.
PREFIX = "dask-runner-"


class RankDirectory:
    """A directory of mode 0700 on a disk of this node, removed at the end.

    It holds logs, the cluster's TLS material and what workers spill. Where others could
    take it away and lay one of theirs under its name, our processes know it by the
    descriptor that this one has.

    Parameters
    ----------
    scratch : str
        Where to make it.
    environ : mapping
        The rank's environment.
    kept : KeptLogs, optional
        Where logs are made that stay.
    before : callable, optional
        Is told the path before the directory is made.

    Raises
    ------
    ConfigError
        If it cannot be made.
    """

    def __init__(
        self,
        scratch: str,
        environ: Mapping[str, str],
        kept: KeptLogs | None = None,
        before: Callable[[Path], None] = lambda _: None,
    ) -> None:
        try:
            self._held, self.path = private_directory.HeldDirectory.make(
                scratch, PREFIX, before
            )
            self._others = private_directory.exposure(scratch)
        except OSError as error:
            raise ConfigError(
                f"no directory can be made in {scratch}: {error.strerror}",
                "a place for logs, keys and what workers spill",
                "name another one with --local-directory DIR",
            ) from error
        if self._others:
            self.path = self._held.path
        self._environ = environ
        self._kept = kept
        self._variables: dict[str, str] | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of where it is."""
        if not self._others:
            return ()
        text = (
            f"other accounts may rename what lies in --local-directory "
            f"({self._others}); what is made there is used by its descriptor, so that "
            "they cannot replace it"
        )
        return (text,)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a process of this rank."""
        # Where Dask would leave a directory for all that come after. Quoted, because
        # Dask reads the value as a Python literal, and a path may look like one.
        own = {"DASK_TEMPORARY_DIRECTORY": repr(str(self.path))}
        return inherited(self._environ, {**own, **(extra or {})})

    def log(self, name: str) -> str:
        """Return the path of a process's log."""
        return str(self.path / f"{name}.log")

    def worker_log(self, number: int) -> str:
        """Return the path of the log of the rank's worker of that number, from 0."""
        return self.log(f"worker-{number}")

    def keep(self, log: str, process: str, name: str) -> str:
        """Have a log kept, if the user wants that; return the path of its file.

        Parameters
        ----------
        log : str
            As :meth:`log` has returned it. Nothing is written there yet.
        process, name : str
            The process, and the name of its file (:mod:`dask_runner.node.kept_logs`).

        Raises
        ------
        ConfigError
            If there is no safe place for it.
        """
        if self._kept is None:
            return ""
        if not Path(log).is_symlink():
            Path(log).symlink_to(self._kept.make(process, name))
        return self.where(log)

    def where(self, log: str) -> str:
        """Return the path of a log's file itself."""
        return str(Path(log).readlink()) if Path(log).is_symlink() else log

    def tail(self, name: str) -> str:
        """Return the last lines of a process's log that tell of trouble."""
        try:
            lines = Path(self.log(name)).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        told = [line for line in lines if " INFO " not in line]
        return "".join(f"\n  | {line}" for line in told[-TAIL:])

    def tls(self, record: Record) -> dict[str, str]:
        """Return the variables that give the cluster's TLS material to Dask."""
        if not record.encrypts:
            return tls.without(self._environ)
        if self._variables is None:
            try:
                tls.write(self._held.descriptor, record.certificate, record.private_key)
            except OSError as error:
                raise ConfigError(
                    f"the cluster's keys cannot be written to {self.path}: "
                    f"{error.strerror}",
                    "a disk with room for logs, keys and what workers spill",
                    "name another one with --local-directory DIR",
                ) from error
            self._variables = tls.variables(
                *tls.in_directory(self.path / tls.DIRECTORY)
            )
        return self._variables

    def remove(self) -> None:
        """Remove it with all that is in it."""
        self._held.remove()
