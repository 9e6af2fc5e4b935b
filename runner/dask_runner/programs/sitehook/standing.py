"""The client that stands by for a program that makes none.

Used by :mod:`dask_runner.programs.client`, and below ``dask-runner -- COMMAND``
by any Python that has the cluster's version of Dask, whether it has the package
dask_runner or not: nothing of it is imported here.

It is longer than a module should be, and one file because such a Python loads it by its
path, as it would have to load each other one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import socket
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Says which versions can work with the cluster, as :func:`versions` does.
VERSIONS = "DASKRUNNER_VERSIONS"

#: Says where the cluster's dashboard is, or how one comes to it, to such a Python.
DASHBOARD = "DASKRUNNER_DASHBOARD"

#: Seconds for a scheduler's host to answer at all.
PATIENCE = 5.0

#: Names of the scheduler that a client is (:func:`dask.base.get_scheduler`).
_CLIENTS = ("distributed", "dask.distributed")


def versions() -> str:
    """Return what has to be the same at both ends of a connection of Dask's.

    Functions travel as byte code, which is one minor version of Python's; Dask
    asks for the same version of itself everywhere.
    """
    python = ".".join(map(str, sys.version_info[:2]))
    try:
        dask = version("distributed")
    except PackageNotFoundError:
        dask = "of no known version"
    return f"Python {python} with distributed {dask}"


class Link(str):
    """Dask's template of the links to dashboards, which knows the cluster's as well.

    Dask fills in the scheduler's host, and a port. Ours has no port that is for all;
    other clusters of the same program have, and their links stay as they are.

    Attributes
    ----------
    ours : str
        The link to the cluster's, or how one comes to it.
    """

    __slots__ = ("ours",)
    ours: str

    @classmethod
    def set(cls, ours: str) -> None:
        """Let Dask use it, in this process."""
        import dask.config  # noqa: PLC0415  the caller has it

        link = cls(dask.config.get("distributed.dashboard.link"))
        link.ours = ours
        dask.config.set({"distributed.dashboard.link": link})

    def format(self, *args: Any, **values: Any) -> str:
        """Fill in as for any cluster, if it is one that has a port."""
        if values.get("port") is None:
            return self.ours
        return super().format(*args, **values)

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Be a plain text in another process, which may be another cluster's."""
        return str, (str(self),)


def connect(address: str, security: Any = None) -> Any:
    """Return a client that is the default until the user makes one, and is quiet.

    Without *security* it is as Dask's configuration says.
    """
    from distributed import Client  # noqa: PLC0415  as late as the caller

    class Standing(Client):  # type: ignore[misc]  # Dask has no type information
        """Stands by for who makes no client of their own."""

        async def _reconnect(self) -> None:
            # The script has shut the cluster down, or it is lost and we end:
            # there is nothing to reconnect to, nor to complain about.
            await self._close()

    client = Standing(address, name="dask-runner", security=security)
    # Dask finds it without the setting, of which the user's own may be another. And
    # a client of theirs that ends after this one would put the setting back.
    with client._set_config:  # noqa: SLF001  as its end does
        pass
    return client


def patch(module: Any) -> None:
    """Let a module of Dask's that has just been imported know of the cluster."""
    _PATCHES[module.__name__](module)


class _Held(threading.local):
    """What holds in one thread.

    Attributes
    ----------
    now : bool
        Its user has chosen another scheduler: no reason to connect.
    hidden : bool
        Dask asks for a client to choose an algorithm by.
    """

    now = False
    hidden = False


_held = _Held()


def _patch_base(base: Any) -> None:
    """Connect for no one who names a scheduler that needs no client."""
    original = base.get_scheduler

    @functools.wraps(original)
    def get_scheduler(
        get: Any = None, scheduler: Any = None, *args: Any, **kwargs: Any
    ) -> Any:
        with _holding(scheduler):
            return original(get, scheduler, *args, **kwargs)

    base.get_scheduler = get_scheduler


@contextlib.contextmanager
def _holding(scheduler: Any) -> Iterator[None]:
    before = _held.now
    _held.now = before or not _leaves_it_to_a_client(scheduler)
    try:
        yield
    finally:
        _held.now = before


def _leaves_it_to_a_client(scheduler: Any) -> bool:
    return scheduler is None or (
        isinstance(scheduler, str) and scheduler.lower() in _CLIENTS
    )


def _hiding(original: Any) -> Any:
    """Let Dask choose an algorithm as for a program that has no client.

    Peer-to-peer algorithms run on workers alone, and they are chosen before it is
    known which scheduler computes: ``compute(scheduler="threads")`` would fail.
    """

    @functools.wraps(original)
    def choose(*args: Any, **kwargs: Any) -> Any:
        _held.hidden = True
        try:
            return original(*args, **kwargs)
        finally:
            _held.hidden = False

    return choose


def _patch_rechunk(rechunk: Any) -> None:
    rechunk._choose_rechunk_method = _hiding(rechunk._choose_rechunk_method)  # noqa: SLF001


def _patch_utils(utils: Any) -> None:
    hiding = _hiding(utils.get_default_shuffle_method)
    key = "dataframe.shuffle.method"

    @functools.wraps(hiding)
    def get_default_shuffle_method() -> Any:
        method = hiding()
        # A disk is one machine's; any scheduler can do it by tasks.
        chosen = method != "disk" or utils.config.get(key, None)
        if chosen or "distributed.client" not in sys.modules:
            return method
        return "tasks" if _wanted() else method

    utils.get_default_shuffle_method = get_default_shuffle_method


def _patch_client(client: Any) -> None:
    """Let the default client be ours where there is no other."""
    standing = _Standing(client)
    original = client.default_client

    @functools.wraps(original)
    def default_client(c: Any = None) -> Any:
        if not c and _held.hidden and standing.is_the_default():
            raise ValueError("No clients found")
        if not c and not _held.hidden:
            standing.by()
        return original(c)

    client.default_client = default_client
    Link.set(os.environ.get(DASHBOARD, ""))
    os.register_at_fork(after_in_child=standing.forked)
    if "_ssl" in sys.modules:
        _repair()


class _Standing:
    """Connects when it is first needed, once.

    Parameters
    ----------
    module : module
        ``distributed.client``.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._lock = threading.RLock()
        self._connecting = False
        self._over = False
        self._client: Any = None

    def is_the_default(self) -> bool:
        """Whether the user has no client of their own."""
        return self._client is not None and (
            self._module._get_global_client() is self._client  # noqa: SLF001
        )

    def by(self) -> None:
        """Make the default client, unless someone has or does not want one."""
        if self._over or self._module._get_global_client() or not _wanted():  # noqa: SLF001
            return
        with self._lock:
            if self._connecting or self._over or self._module._get_global_client():  # noqa: SLF001
                return
            self._connecting = True
            try:
                self._client = self._connect()
            finally:
                self._connecting = False
            # A client that the cluster has left is not replaced.
            self._over = self._client is None

    def _connect(self) -> Any:
        import dask.config  # noqa: PLC0415  the caller has it

        if self._client is not None:
            return None
        address = dask.config.get("scheduler-address")
        trouble = _mismatch()
        # Whoever had a client may have shut the cluster down. Nobody else is asked
        # to knock first: the scheduler would log a handshake that failed.
        if not trouble and self._module._global_client_index[0]:  # noqa: SLF001
            trouble = _unreachable(address)
        if trouble:
            sys.stderr.write(f"dask-runner: warning: computing alone: {trouble}\n")
            return None
        return connect(address)

    def forked(self) -> None:
        """Forget the parent's client, whose threads are not in a child."""
        self._lock = threading.RLock()
        self._connecting = False
        if self._client is None:
            return
        self._module._del_global_client(self._client)  # noqa: SLF001
        # Its end would wait for those threads.
        self._client.status = "closed"
        self._client = None


def _wanted() -> bool:
    import dask.config  # noqa: PLC0415  the caller has it
    from distributed import Nanny, Scheduler, Worker  # noqa: PLC0415  as above

    if _held.now or not dask.config.get("scheduler-address", None):
        return False
    if not _leaves_it_to_a_client(dask.config.get("scheduler", None)):
        return False
    # A cluster of the user's own; its tasks have its own client.
    for kind in (Nanny, Scheduler, Worker):
        if any(one.status.name != "closed" for one in tuple(kind._instances)):  # noqa: SLF001
            return False
    return not _in_a_loops_thread()


def _in_a_loops_thread() -> bool:
    """Whether waiting here for a connection would keep it from being made."""
    import asyncio  # noqa: PLC0415  distributed has it

    # The main thread has a loop in a notebook, which is not the client's.
    return (
        asyncio._get_running_loop() is not None  # noqa: SLF001
        and threading.current_thread() is not threading.main_thread()
    )


def _mismatch() -> str:
    cluster, ours = os.environ.get(VERSIONS, ""), versions()
    if ours == cluster:
        return ""
    return f"{sys.executable} is {ours}, the cluster has {cluster}"


def _unreachable(address: str) -> str:
    """Return why a scheduler cannot be reached, at once; Dask tries for longer."""
    from distributed.comm import get_address_host_port  # noqa: PLC0415  the caller has

    if not address.startswith(("tcp://", "tls://")):
        return ""
    try:
        socket.create_connection(get_address_host_port(address), PATIENCE).close()
    except OSError as error:
        return f"the scheduler at {address} does not answer: {error}"
    return ""


def _repair() -> None:
    """Apply openssl.py, which imports nothing of ours either."""
    path = Path(__file__).parents[1] / "openssl.py"
    spec = importlib.util.spec_from_file_location("_dask_runner_openssl", path)
    assert spec is not None  # noqa: S101  a file with the suffix .py
    assert spec.loader is not None  # noqa: S101  has both
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    repair: Callable[[], None] = module.repair
    repair()


_PATCHES = {
    "dask.array.rechunk": _patch_rechunk,
    "dask.base": _patch_base,
    "dask.utils": _patch_utils,
    "distributed.client": _patch_client,
}
