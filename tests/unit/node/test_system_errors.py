"""What is said of an error: the one that it came from, and what the system refused."""

from __future__ import annotations

import errno
import multiprocessing.synchronize
import os
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError, LostError
from dask_runner.node import system_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def raised(call: Callable[[], object]) -> Exception:
    """Return what a call raises, with its traceback."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  whatever it is
        return error
    raise AssertionError("nothing was raised")


def nannys() -> None:
    """Fail as Dask's nanny does where the system refuses what it needs."""
    try:
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        finally:
            raise AssertionError("Status.init")
    except AssertionError as error:
        raise RuntimeError("Nanny failed to start.") from error


def test_the_root_is_below_what_only_stumbled_over_it() -> None:
    found = system_errors.root(raised(nannys))
    assert isinstance(found, OSError)
    assert found.errno == errno.EMFILE


def told_better() -> None:
    try:
        {}["wss"]
    except KeyError:
        raise ValueError("no protocol wss; there are: tcp, tls")  # noqa: B904


def test_an_error_that_says_more_than_the_one_before_it_is_the_root() -> None:
    assert "there are" in str(system_errors.root(raised(told_better)))


def test_an_error_that_nothing_came_before_is_its_own_root() -> None:
    alone = AssertionError("alone")
    assert system_errors.root(alone) is alone


@pytest.mark.parametrize(
    ("error", "saw", "needed", "do"),
    [
        (
            OSError(errno.ENOSPC, "", "/scratch/a.log"),
            "/scratch/a.log: No space left on device",
            "space",
            "--local-directory",
        ),
        (
            OSError(errno.ENOSPC, ""),
            "/here: No space left on device",
            "space",
            "--local-directory",
        ),
        (BlockingIOError(errno.EAGAIN, ""), "unavailable", "ulimit -u", "raise"),
        (RuntimeError("can't start new thread"), "unavailable", "ulimit -u", "raise"),
        (OSError(errno.EMFILE, ""), "Too many open files", "ulimit -n", "raise"),
        (OSError(errno.ENOMEM, ""), "Cannot allocate memory", "memory", "ask for"),
    ],
)
def test_what_the_system_refuses_is_said_in_three_parts(
    error: Exception, saw: str, needed: str, do: str
) -> None:
    found = system_errors.problem(error, "/here")
    assert found.status == ConfigError.status
    assert saw in found.saw
    assert needed in found.needed
    assert do in found.do


def test_a_refused_semaphore_is_no_full_disk() -> None:
    # Nothing but the module that asks for it tells it from a disk that is full.
    module = compile("os.stat('')", multiprocessing.synchronize.__file__, "exec")
    error = raised(lambda: exec(module, {"os": os}))  # noqa: S102
    found = system_errors.problem(error)
    assert "/dev/shm" in found.saw
    assert "--no-nanny" in found.do


def test_an_error_of_ours_is_what_it_is_and_a_fault_is_no_error_of_the_users() -> None:
    ours = LostError("gone")
    assert system_errors.problem(ours) is ours
    with pytest.raises(ZeroDivisionError):
        system_errors.problem(ZeroDivisionError())


def test_the_users_file_that_raises_an_error_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tarfile.py"
    module = compile("x = 1\nraise ImportError('hidden')", str(path), "exec")
    error = raised(lambda: exec(module, {}))  # noqa: S102
    assert system_errors.in_words(error) == f"ImportError: hidden ({path}, line 2)"


def test_a_file_of_pythons_or_ours_is_not_named() -> None:
    error = raised(lambda: multiprocessing.get_context("no such"))
    assert system_errors.in_words(error) == f"ValueError: {error}"
