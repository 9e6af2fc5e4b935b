"""Which of Dask's protocols a cluster with keys may speak.

Dask itself looks at ``require-encryption`` in its TCP backend alone: websockets and
UCX serve whoever comes, and say nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dask_runner.launch.settings import Settings

#: Those that encrypt, and ask both ends for a certificate of the cluster.
SECURE = ("tls", "wss")

#: Keywords of Dask's classes that hold an address, or several; the protocol in it
#: counts where there is one.
_ADDRESSES = ("host", "contact_address", "listen_address")


def check(
    settings: Settings,
    scheduler_options: Mapping[str, Any] | None = None,
    worker_options: Mapping[str, Any] | None = None,
    scheduler_address: str = "",
) -> None:
    """Refuse what would open a cluster that is to have keys.

    Parameters
    ----------
    settings : Settings
        ``security``, ``protocol`` and ``dashboard_address``.
    scheduler_options, worker_options : mapping, optional
        Further keywords for Dask's classes.
    scheduler_address : str
        A scheduler that runs elsewhere.

    Raises
    ------
    ConfigError
        If a protocol does not encrypt and check, other keys are to be used, or
        Dask's Jupyter server would be on a port.
    """
    if settings.security != "tls":
        return
    _protocol(dict(settings)["protocol"].source, settings.protocol)
    _address("scheduler_address", scheduler_address)
    scheduler, worker = scheduler_options or {}, worker_options or {}
    opened = scheduler.get("dashboard_address", settings.dashboard_address)
    if scheduler.get("jupyter") and opened is not None:
        raise ConfigError(
            f"jupyter in scheduler_options, and the dashboard's port {opened!r}",
            "a Jupyter server that only you reach: Dask's asks nobody for a password",
            "leave the dashboard's address out, so that both are on a Unix socket of "
            "yours, or add --security none: then whoever reaches it runs code as you",
        )
    for name, options in (("scheduler_options", scheduler), ("worker_options", worker)):
        _protocol(f"protocol in {name}", options.get("protocol"))
        for key in _ADDRESSES:
            _address(f"{key} in {name}", options.get(key))
        if options.get("security") is not None:
            raise ConfigError(
                f"security in {name}, with --security tls",
                "the keys that are made for this cluster, and no others",
                f"leave it out of {name}, or add --security none and see to the "
                "keys yourself",
            )


def _each(value: Any) -> Iterator[str]:
    yield from map(str, value if isinstance(value, (list, tuple)) else [value or ""])


def _protocol(where: str, value: Any) -> None:
    for name in _each(value):
        if name.removesuffix("://") not in ("", *SECURE):
            _refuse(where, name)


def _address(where: str, value: Any) -> None:
    for text in _each(value):
        scheme, found, _ = text.partition("://")
        if found and scheme not in SECURE:
            _refuse(where, text)


def _refuse(where: str, value: str) -> None:
    raise ConfigError(
        f"{where} = {value!r}, with --security tls",
        f"a protocol that encrypts and checks who comes: {' or '.join(SECURE)}",
        "leave it out, or add --security none: then whoever reaches the scheduler "
        "runs code as you",
    )
