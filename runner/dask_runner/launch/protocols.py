"""Which of Dask's protocols a cluster with keys may use.

Dask checks ``require-encryption`` in its TCP backend only: websockets and UCX accept
every connection, encrypted or not, without a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dask_runner.launch.settings import Settings

#: The protocols that encrypt, and ask both ends for the cluster's certificate.
SECURE = ("tls", "wss")

#: Keywords of Dask's classes for an address or several. An address may begin with a
#: protocol.
_ADDRESSES = ("host", "contact_address", "listen_address")


def check(
    settings: Settings,
    scheduler_options: Mapping[str, Any] | None = None,
    worker_options: Mapping[str, Any] | None = None,
    scheduler_address: str = "",
) -> None:
    """Refuse settings that would open a cluster that has keys.

    Parameters
    ----------
    settings : Settings
        ``security``, ``protocol`` and ``dashboard_address``.
    scheduler_options, worker_options : mapping, optional
        More keywords for Dask's classes.
    scheduler_address : str
        A scheduler that runs elsewhere.

    Raises
    ------
    ConfigError
        If a protocol does not encrypt and check certificates, if other keys are
        given, or if Dask's Jupyter server would listen on a port.
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
            "a Jupyter server that only you can reach: Dask's has no password",
            "leave the dashboard's address out, so that both listen on a Unix socket "
            "of yours, or add --security none: then anyone who reaches it runs code "
            "as you",
        )
    for name, options in (("scheduler_options", scheduler), ("worker_options", worker)):
        _protocol(f"protocol in {name}", options.get("protocol"))
        for key in _ADDRESSES:
            _address(f"{key} in {name}", options.get(key))
        if options.get("security") is not None:
            raise ConfigError(
                f"security in {name}, with --security tls",
                "the keys that are made for this cluster, and no others",
                f"leave it out of {name}, or add --security none and handle the "
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
        f"a protocol that encrypts and checks certificates: {' or '.join(SECURE)}",
        "leave it out, or add --security none: then anyone who reaches the scheduler "
        "runs code as you",
    )
