"""How soon the thread that moves data has Python's lock (the GIL) again.

Each call of TLS, and of the system, gives the lock away and asks for it again. A task
in pure Python keeps it for 5 ms each time (``sys.setswitchinterval``), and TLS takes a
call for each 16 KiB: a frame of 32 MB took 6 s to such a worker and 2 s from it, where
it takes 0.04 s without the task (Dask's developers know: dask/distributed#6325).
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading

#: Seconds for which another thread may keep the lock while much is moved. Threads that
#: compute in Python lose a fifth of their speed, for so long. (32 MB from a worker that
#: computes, and to one: 18 and 6 MB/s with 5 ms, 61 and 32 with 1 ms, 180 to 290 and 60
#: with this, 230 and 78 with 10 µs; medians of 14 rechunks of 288 MB, of eight jobs:
#: 0.79, 0.76, 0.74 and 0.80 s.)
SOON = 1e-4
#: The most bytes that a stream asks for where no large frame is to come.
LITTLE = 64 << 10


class _Soon:
    """Within it, in however many threads, the lock is given up soon."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._else = sys.getswitchinterval()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._else = sys.getswitchinterval()
                sys.setswitchinterval(min(SOON, self._else))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                sys.setswitchinterval(self._else)

    def forget(self) -> None:
        """Be as at first: of the threads within, a fork has none."""
        if self._inside:
            sys.setswitchinterval(self._else)
        # Another thread may have had the lock.
        self._lock, self._inside = threading.Lock(), 0


_soon = _Soon()
os.register_at_fork(after_in_child=_soon.forget)


def soon(nbytes: int) -> contextlib.AbstractContextManager[None]:
    """Return what the call is made within that moves so many bytes."""
    return _soon if nbytes > LITTLE else contextlib.nullcontext()
