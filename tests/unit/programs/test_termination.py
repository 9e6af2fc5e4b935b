"""SIGTERM as an exception."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.programs.termination import Termination

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def now() -> Any:
    return signal.getsignal(signal.SIGTERM)


def test_the_signal_ends_the_program_by_an_exception_with_its_status() -> None:
    cleaned = []

    def program() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            cleaned.append("up")

    with pytest.raises(SystemExit) as caught, Termination():
        program()
    assert (caught.value.code, cleaned) == (143, ["up"])


def test_a_second_one_does_not_interrupt_what_the_first_has_begun() -> None:
    with pytest.raises(SystemExit), Termination():
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)


def test_after_the_program_the_signal_is_what_it_was() -> None:
    with Termination():
        assert now() is not signal.SIG_DFL
    assert now() is signal.SIG_DFL


@pytest.mark.parametrize("theirs", [signal.SIG_IGN, print])
def test_a_handler_that_is_there_stays(theirs: Any) -> None:
    signal.signal(signal.SIGTERM, theirs)
    with Termination():
        assert now() is theirs
    assert now() is theirs


def test_a_handler_that_the_program_sets_stays() -> None:
    with Termination():
        signal.signal(signal.SIGTERM, print)
    assert now() is print


def test_in_another_thread_nothing_changes() -> None:
    def body() -> None:
        with Termination():
            assert now() is signal.SIG_DFL

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
