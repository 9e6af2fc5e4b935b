"""An error that one connection has left breaks no other one."""

from __future__ import annotations

import _ssl
import ctypes
import ssl

import pytest

from dask_runner.meeting import tls
from dask_runner.wire import mutual_tls

MATERIAL = tls.material()
#: The number of the library that an error is of, and of one of its reasons (err.h).
SSL_LIBRARY, UNEXPECTED_EOF = 20, 294


def leave_an_error() -> None:
    """Do what another connection does that breaks off."""
    library = ctypes.PyDLL(getattr(_ssl, "__file__", None))
    library.ERR_new()
    library.ERR_set_error(SSL_LIBRARY, UNEXPECTED_EOF, None)


class End:
    """One end of a connection, without a socket."""

    def __init__(self, *, server: bool, kind: type[ssl.SSLObject] | None) -> None:
        context = mutual_tls.context(*MATERIAL, server=server)
        context.sslobject_class = kind or context.sslobject_class
        self.came, self.goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.speaks = context.wrap_bio(self.came, self.goes, server_side=server)

    def goes_on(self) -> None:
        try:
            self.speaks.do_handshake()
        except ssl.SSLWantReadError:
            return


def connected(kind: type[ssl.SSLObject] | None = None) -> End:
    """Return one end of a connection that has nothing to read."""
    ends = [End(server=server, kind=kind) for server in (False, True)]
    for _ in range(3):
        for one, other in (ends, ends[::-1]):
            one.goes_on()
            other.came.write(one.goes.read())
    return ends[1]


def test_an_error_of_another_connection_is_not_this_ones() -> None:
    end = connected()
    leave_an_error()
    with pytest.raises(ssl.SSLWantReadError):
        end.speaks.read(1)
    leave_an_error()
    assert end.speaks.write(b"goes on") == len(b"goes on")


def test_a_handshake_is_not_broken_by_another_connections_error() -> None:
    end = End(server=True, kind=None)
    leave_an_error()
    with pytest.raises(ssl.SSLWantReadError):
        end.speaks.do_handshake()


def test_python_itself_takes_such_an_error_for_the_connections_own() -> None:
    end = connected(ssl.SSLObject)
    leave_an_error()
    # Where it does so no more, the workaround can go.
    with pytest.raises(ssl.SSLError) as caught:
        end.speaks.read(1)
    assert not isinstance(caught.value, ssl.SSLWantReadError)
