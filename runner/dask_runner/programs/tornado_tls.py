"""A workaround for tornado's TLS, which breaks because another connection did.

CPython does not clear OpenSSL's error queue before it calls ``SSL_read`` and
``SSL_write``. An error that one connection has left there (since OpenSSL 3.4: a peer
that closed early) is then reported for the next connection that has nothing to read. A
healthy connection to a worker breaks, and Dask removes the worker.
With Python 3.13.5 and OpenSSL 3.5.7, one in eight workers was lost at the start.
See https://github.com/python/cpython/issues/148594 (open on 2026-11-21).
"""

from __future__ import annotations

import _ssl
import ctypes
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_repaired: set[type] = set()


def repair() -> None:
    """Make tornado clear the error queue before it reads or writes."""
    from tornado.iostream import SSLIOStream  # noqa: PLC0415  loaded with Dask

    clear = _clear_error()
    if clear is None or SSLIOStream in _repaired:
        return
    _repaired.add(SSLIOStream)
    for name in ("read_from_fd", "write_to_fd"):
        setattr(SSLIOStream, name, _after(clear, getattr(SSLIOStream, name)))


def _after(clear: Callable[[], None], method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def cleared(*args: Any) -> Any:
        clear()
        return method(*args)

    return cleared


def _clear_error() -> Any:
    """Return ``ERR_clear_error`` of the library that Python itself uses."""
    # dlsym(3) also searches the libraries that a shared object is linked with. Where
    # OpenSSL is built into Python, the handle is Python's own.
    library = ctypes.PyDLL(getattr(_ssl, "__file__", None))
    return getattr(library, "ERR_clear_error", None)
