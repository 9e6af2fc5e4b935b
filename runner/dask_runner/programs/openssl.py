"""A workaround for TLS connections that break because another one did.

CPython calls ``SSL_read`` and ``SSL_write`` without clearing OpenSSL's error
queue before, so an error that one connection left there (since OpenSSL 3.4: a
peer that closed early) is taken for one of the next connection that has nothing
to read: a healthy connection to a worker breaks, and Dask gives the worker up.
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
    """Let tornado clear the error queue before it reads or writes."""
    from tornado.iostream import SSLIOStream  # noqa: PLC0415  as late as Dask

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
    """Return ``ERR_clear_error`` of the very library that Python uses."""
    # A look-up in a shared object's handle goes on to the libraries that it
    # needs. Where Python has OpenSSL built in, its own handle is the place.
    library = ctypes.PyDLL(getattr(_ssl, "__file__", None))
    return getattr(library, "ERR_clear_error", None)
