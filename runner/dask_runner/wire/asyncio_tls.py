"""A workaround for asyncio's TLS, which breaks because another connection did.

CPython does not clear OpenSSL's error queue before it reads or writes. An error that
one connection has left there is then reported for the next one that has nothing to read
(:mod:`dask_runner.programs.tornado_tls` has versions, and the same for Dask). Without
this, any stranger who breaks off a handshake could break the connection of a node.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def _clearing() -> Callable[[], None]:
    """Return ``ERR_clear_error`` of the library that Python itself uses."""
    # As in programs.tornado_tls, which is loaded where nothing of this package is.
    library = ctypes.PyDLL(getattr(_ssl, "__file__", None))
    clear: Callable[[], None] = getattr(library, "ERR_clear_error", lambda: None)
    return clear


_clear = _clearing()


class CleanSSLObject(ssl.SSLObject):
    """What asyncio speaks TLS with, and no error of another connection's."""

    def do_handshake(self) -> None:
        """Do as much of the handshake as can be done now."""
        _clear()
        super().do_handshake()

    def read(self, *args: Any) -> Any:
        """Read what is there."""
        _clear()
        return super().read(*args)

    def write(self, data: Any) -> int:
        """Write what can be written."""
        _clear()
        return super().write(data)

    def unwrap(self) -> None:
        """Do as much of the farewell as can be done now."""
        _clear()
        super().unwrap()
