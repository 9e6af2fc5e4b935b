"""SIGTERM ends a program by an exception, if it has no handler of its own.

By default the signal kills a Python at once: no ``finally`` runs, and what is not
written is lost. Here it raises ``SystemExit(143)`` in the main thread, as Ctrl-C raises
``KeyboardInterrupt`` there. Below :func:`asyncio.run` it does what Ctrl-C does: the
main task is cancelled, and the loop goes on until that has ended.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

#: The status of a program that SIGTERM ends, as a shell has it.
STATUS = 128 + signal.SIGTERM


class Termination:
    """What SIGTERM does in the body of a ``with``.

    A handler that the program sets is not touched, nor one that it has already. Only
    the main thread can set handlers: elsewhere this does nothing.

    Attributes
    ----------
    raised : bool
        Whether the signal has come. It raises once: a launcher may send it to this
        process, and to one that sends it on.
    heard : callable
        Is called with the signal.
    """

    def __init__(self) -> None:
        self.raised = False
        self.heard: Callable[[], None] = _nothing
        self._held = threading.local()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over()

    def begin(self) -> None:
        """Raise the exception from now on."""
        if not _in_main() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        signal.signal(signal.SIGTERM, self._raise)
        os.register_at_fork(
            before=self._hold_back,
            after_in_parent=self._let_come,
            after_in_child=self._be_a_fork,
        )

    def over(self) -> None:
        """Raise it no more; one that has been raised has time to be handled."""
        if _in_main() and self._is_ours and not self.raised:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    @property
    def _is_ours(self) -> bool:
        return signal.getsignal(signal.SIGTERM) == self._raise

    def _raise(self, number: int, frame: FrameType | Any) -> None:
        del number
        if self.raised:
            return
        self.raised = True
        self.heard()
        if (cancel := _of_asyncio()) is None:
            raise SystemExit(STATUS)
        cancel(signal.SIGINT, frame)

    def is_end(self, error: BaseException) -> bool:
        """Return whether an exception is what asyncio has made of the signal."""
        return self.raised and isinstance(error, KeyboardInterrupt)

    # A process that the program forks, as multiprocessing does, ends by SIGTERM at
    # once: the code around the fork is not its own to finish. Python would forget a
    # signal that comes before it has noticed that it is a fork.

    def _hold_back(self) -> None:
        self._held.mask = None
        if self._is_ours:
            block = signal.SIG_BLOCK, {signal.SIGTERM}
            self._held.mask = signal.pthread_sigmask(*block)

    def _be_a_fork(self) -> None:
        if self._is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._let_come()

    def _let_come(self) -> None:
        if self._held.mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._held.mask)


def _of_asyncio() -> Any:
    """Return asyncio's handler of Ctrl-C, which knows the main task; None without."""
    handler = signal.getsignal(signal.SIGINT)
    of_run = isinstance(handler, functools.partial) and "main_task" in handler.keywords
    return handler if of_run else None


def _nothing() -> None:
    """Do nothing."""


def _in_main() -> bool:
    return threading.current_thread() is threading.main_thread()
