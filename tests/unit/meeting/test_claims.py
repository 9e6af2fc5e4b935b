"""Claims: exactly one process is the first, whatever lies there."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dask_runner.meeting import claims
from dask_runner.meeting.claims import Claims, place
from dask_runner.meeting.record import Record
from dask_runner.meeting.record_directory import RECORDS

if TYPE_CHECKING:
    from pathlib import Path

KEY = "handed-out..lab"
RECORD = Record(KEY, "a" * 32, "c1", "127.0.0.1", 40000, "CERT", "KEY")
OTHER = replace(RECORD, nonce="b" * 32)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / RECORDS


def test_the_first_counts_and_others_find_it(directory: Path) -> None:
    assert Claims(directory, KEY).look() is None
    assert Claims(directory, KEY).lay(RECORD)
    assert not Claims(directory, KEY).lay(OTHER)
    assert Claims(directory, KEY).look() == RECORD


def test_a_claim_is_for_its_owner_alone(directory: Path) -> None:
    Claims(directory, KEY).lay(RECORD)
    (file,) = directory.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_of_many_at_once_one_counts(directory: Path) -> None:
    records = [replace(RECORD, nonce=f"{number:032x}") for number in range(16)]
    laid: list[str] = []
    barrier = threading.Barrier(len(records))

    def lay(record: Record) -> None:
        barrier.wait()
        if Claims(directory, KEY).lay(record):
            laid.append(record.nonce)

    threads = [threading.Thread(target=lay, args=(one,)) for one in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(laid) <= 1
    found = Claims(directory, KEY).look()
    assert [found.nonce] if found else laid == []


def test_a_dead_one_is_replaced_and_then_removed(directory: Path) -> None:
    Claims(directory, KEY).lay(RECORD)
    late = Claims(directory, KEY)
    assert late.look() == RECORD
    assert late.is_over(gone=True)
    assert late.look() is None
    assert late.lay(OTHER)
    assert Claims(directory, KEY).look() == OTHER
    assert len(list(directory.iterdir())) == 1


def test_what_the_dead_one_had_aside_is_removed_with_it(directory: Path) -> None:
    Claims(directory, KEY).lay(RECORD)
    (claim,) = directory.iterdir()
    os.link(claim, directory / f".{RECORD.nonce}.0.aside")  # killed after link(2)
    late = Claims(directory, KEY)
    late.look()
    late.is_over(gone=True)
    assert late.lay(OTHER)
    late.withdraw()
    assert not directory.exists()


def test_of_two_that_find_a_dead_one_the_slower_follows(directory: Path) -> None:
    Claims(directory, KEY).lay(RECORD)
    quick, slow = Claims(directory, KEY), Claims(directory, KEY)
    for one in (quick, slow):
        one.look()
        one.is_over(gone=True)
    assert quick.lay(OTHER)
    assert not slow.lay(replace(RECORD, nonce="c" * 32))
    assert slow.look() == OTHER


def test_a_dead_ones_number_can_be_had_again(directory: Path) -> None:
    Claims(directory, KEY).lay(RECORD)
    slow = Claims(directory, KEY)
    slow.look()
    slow.is_over(gone=True)
    quick = Claims(directory, KEY)
    quick.look()
    quick.is_over(gone=True)
    quick.lay(OTHER)
    quick.withdraw()
    fresh = replace(RECORD, nonce="d" * 32)
    assert Claims(directory, KEY).lay(fresh)
    assert slow.look() == fresh
    assert not slow.lay(replace(RECORD, nonce="e" * 32))


def test_one_that_is_silent_but_fresh_is_waited_for(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Claims(directory, KEY)
    first.lay(RECORD)
    late = Claims(directory, KEY)
    late.look()
    assert not late.is_over(gone=False)
    assert "does not answer" in late.trouble
    monkeypatch.setattr(claims, "STALE_SECONDS", -1.0)
    assert late.is_over(gone=False)


def test_refreshing_makes_it_fresh(directory: Path) -> None:
    first = Claims(directory, KEY)
    first.refresh()  # there is nothing yet
    first.lay(RECORD)
    (file,) = directory.iterdir()
    os.utime(file, (0, 0))
    first.refresh()
    assert file.stat().st_mtime > 0


def test_it_is_taken_back_with_its_directory(directory: Path) -> None:
    first = Claims(directory, KEY)
    first.lay(RECORD)
    first.withdraw()
    first.withdraw()
    assert not directory.exists()


def test_what_lies_in_the_way_is_passed_by(directory: Path) -> None:
    directory.mkdir(0o700)
    (directory / f"{KEY}.1.first").symlink_to("/etc/passwd")
    (directory / f"{KEY}.2.first").write_text("no record")
    (directory / f"{KEY}.2.first").chmod(0o600)
    found = Claims(directory, KEY)
    assert found.look() is None
    assert found.lay(RECORD)
    assert Claims(directory, KEY).look() == RECORD


def test_another_launchs_claim_is_none(directory: Path) -> None:
    Claims(directory, KEY).lay(RECORD)
    assert Claims(directory, f"{KEY}2").look() is None
    assert Claims(directory, f"{KEY}2").lay(replace(OTHER, key=f"{KEY}2"))


def test_claims_lie_where_all_processes_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    assert place({"HOME": str(home)}, None) == home / RECORDS
    assert place({}, None) == tmp_path / RECORDS
    assert place({"HOME": str(home)}, "/shared/s.json").as_posix() == "/shared"
