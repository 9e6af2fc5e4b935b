"""TLS in few calls of the system, for streams of tornado.

Python's socket for TLS reads and writes each record by itself, and none has more than
16 KiB: between nodes such calls took longer than the cipher. Here Python's TLS works in
memory (``MemoryBIO``), and the system is asked for as much as it has, and given as much
as it takes at once. Of a large frame that is to come, it tells when there is much. What
travels is the same.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

from dask_runner.programs.comm import gil

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

#: The most bytes that are encrypted, and given to the system, at once. With what TLS
#: adds they are less than the 128 KiB from which glibc may ask the kernel for a block,
#: and give it back, each time. (CPU time of both ends for 1 GB, in seconds: 1.40 with
#: Python's socket; 1.13 with 62 KiB, 1.05 with this, 1.08 with 254 KiB; 0.41 without
#: TLS.)
SENT = 126 << 10
#: The bytes that are received at once: up to so many where a large frame is to come,
#: because a connection keeps as much memory; else the fewer. (112 ms with 128 KiB, 96
#: with this, 106 with 1 MiB.)
RECEIVED, RECEIVED_ELSE = 512 << 10, gil.LITTLE
#: The bytes of a record's header, and the last of them, which tell its length
#: (RFC 8446, 5.1).
_HEADER, _LENGTH = 5, 2
#: The most bytes that a record carries (RFC 8446, 5.1).
_RECORD = 16 << 10
_NOTHING = memoryview(b"")


class _Scratch(threading.local):
    """Where a thread receives what it then decrypts, of all its connections."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(RECEIVED))


_scratch = _Scratch()


class Socket(ssl.SSLSocket):
    """As much of Python's socket for TLS as a stream of tornado uses.

    A context makes it if it is its ``sslsocket_class``. The socket does not block, and
    the handshake comes first. A buffer of more than 64 KiB is to be filled: that is how
    Dask reads a frame.
    """

    _encrypted: int
    _least: int

    def do_handshake(self, block: bool = False) -> None:  # noqa: ARG002  as Python's
        """Begin the handshake, or go on with it.

        Raises
        ------
        ssl.SSLWantReadError, ssl.SSLWantWriteError
            The socket has to be ready before it goes on.
        ssl.SSLError
            The other side is not to be talked to, and is told why.
        """
        if not hasattr(self, "_tls"):
            self._begin()
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                # What follows the handshake stays in the kernel: tornado reads it when
                # that says that there is something.
                self._record.came(self._receive(self._record.missing))
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # it is closed, or full
                    self._flush()
                raise
            else:
                self._flush()
                return

    def recv_into(
        self,
        buffer: WriteableBuffer,
        nbytes: int | None = None,
        flags: int = 0,  # noqa: ARG002  as Python's
    ) -> int:
        """Decrypt what has come; return how many bytes, 0 at the end.

        Raises
        ------
        ssl.SSLWantReadError
            Nothing has.
        """
        into = memoryview(buffer)[: nbytes or None]
        with gil.soon(len(into)):
            return self._decrypt(into)

    def _decrypt(self, into: memoryview) -> int:
        size, count = len(into), 0
        most = max(RECEIVED_ELSE, min(size, RECEIVED))
        # A count, where a buffer is given; typeshed says bytes.
        read: Any = self._tls.read
        try:
            if not (self._incoming.pending or self._tls.pending()):
                self._receive(most)  # TLS would ask for it by an exception
            while count < size:
                try:
                    found = read(size - count, into[count:])
                except ssl.SSLWantReadError:
                    if count:
                        break
                    self._receive(most)
                    continue
                except ssl.SSLEOFError:
                    break
                if not found:
                    break
                count += found
        finally:
            self._wake_at(size - count)
        return count

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:  # noqa: ARG002  as above
        """Encrypt and send as much of data as the system takes; return how many bytes.

        What follows them may be encrypted by then: it is to be given next.

        Raises
        ------
        ssl.SSLWantWriteError
            It takes none: the same are to be given again.
        """
        view = memoryview(data)
        with gil.soon(len(view)):
            return self._encrypt(view)

    def _encrypt(self, view: memoryview) -> int:
        size, sent = len(view), 0
        # All in one call, which is cheaper than tornado's loop.
        try:
            while sent < size:
                if not self._encrypted:
                    self._encrypted = self._tls.write(view[sent : sent + SENT])
                self._flush()
                sent += self._encrypted
                self._encrypted = 0
        except ssl.SSLWantWriteError:
            if not sent:
                raise
        return sent

    def getpeercert(self, binary_form: bool = False) -> Any:
        """Return the certificate of the other side."""
        return self._tls.getpeercert(binary_form)

    def cipher(self) -> tuple[str, str, int] | None:
        """Return the cipher in use: its name, the protocol, and the bits of its key."""
        return self._tls.cipher()

    def version(self) -> str | None:
        """Return the version of TLS in use."""
        return self._tls.version()

    def _begin(self) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self.context.wrap_bio(
            self._incoming, self._outgoing, self.server_side, self.server_hostname
        )
        self._record = _Record()
        self._unsent = _NOTHING
        self._encrypted = 0
        self._least = 1

    def _wake_at(self, missing: int) -> None:
        """Have the kernel tell of data when many of the missing bytes have come.

        Less than a record of them may be here, still encrypted. The end of the
        connection is told at once (tcp(7), socket(7) SO_RCVLOWAT).
        """
        least = min(missing - _RECORD, RECEIVED)
        if least < RECEIVED_ELSE:
            least = 1
        if least != self._least:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
            self._least = least

    def _receive(self, most: int) -> memoryview:
        """Hand what has come to TLS, but no more than so many bytes; return it."""
        into = _scratch.memory[:most]
        try:
            count = socket.socket.recv_into(self, into)
        except BlockingIOError:
            raise ssl.SSLWantReadError(
                ssl.SSL_ERROR_WANT_READ, "nothing has come"
            ) from None
        if count:
            self._incoming.write(into[:count])
        else:
            self._incoming.write_eof()
        return into[:count]

    def _flush(self) -> None:
        """Send all that is encrypted."""
        unsent = self._unsent or self._outgoing.read()
        while unsent:
            try:
                count = socket.socket.send(self, unsent)
            except BlockingIOError:
                self._unsent = memoryview(unsent)
                raise ssl.SSLWantWriteError(
                    ssl.SSL_ERROR_WANT_WRITE, "the socket is full"
                ) from None
            unsent = memoryview(unsent)[count:] or self._outgoing.read()
        self._unsent = _NOTHING


class _Record:
    """How much is missing of a record's header, or of what follows it.

    Attributes
    ----------
    missing : int
        Bytes.
    """

    def __init__(self) -> None:
        self.missing = _HEADER
        self._header: bytes | None = b""

    def came(self, data: memoryview) -> None:
        """Take note of bytes that have come."""
        self.missing -= len(data)
        if self._header is not None:
            self._header += data
        if self.missing:
            return
        if self._header is not None:
            self.missing, self._header = int.from_bytes(self._header[-_LENGTH:]), None
        else:
            self.missing, self._header = _HEADER, b""
