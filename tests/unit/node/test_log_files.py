"""Logs, read on while they are written, and shortened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dask_runner.node import log_files
from dask_runner.programs.log import LARGEST_LOG, _shorten

if TYPE_CHECKING:
    from pathlib import Path

    from dask_runner.hub import messages as m


class Reader:
    """Reads logs as the hub does, from answer to answer."""

    def __init__(self, **logs: Path) -> None:
        self.logs = {name: str(path) for name, path in logs.items()}
        self.positions: dict[str, m.LogPosition] = {}

    def once(self, *, last: bool = False) -> tuple[dict[str, str], bool]:
        lines = log_files.read(7, self.logs, self.positions.values(), last=last)
        assert lines.number == 7
        self.positions |= {piece.to.name: piece.to for piece in lines.pieces}
        return {piece.to.name: piece.text for piece in lines.pieces}, lines.more

    def all(self, *, last: bool = False) -> str:
        """Read to the end of the only log."""
        text, more = "", True
        while more:
            piece, more = self.once(last=last)
            text += "".join(piece.values())
        return text

    @property
    def grown(self) -> bool:
        return log_files.has_grown(self.logs, self.positions.values())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker-0.log"


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_a_log_is_read_on_as_it_grows(log: Path) -> None:
    reader = Reader(w=log)
    assert (reader.all(), reader.grown) == ("", False)

    append(log, "one\ntwo\n")
    assert reader.grown
    assert reader.all() == "one\ntwo\n"
    assert (reader.all(), reader.grown) == ("", False)

    append(log, "three\n")
    assert reader.grown
    assert reader.all() == "three\n"


def test_a_line_that_is_being_written_waits_for_its_end(log: Path) -> None:
    reader = Reader(w=log)
    append(log, "one\ntw")
    assert reader.all() == "one\n"
    append(log, "o\n")
    assert reader.all() == "two\n"


def test_whoever_reads_for_the_last_time_gets_a_line_without_its_end(log: Path) -> None:
    append(log, "one\ntw")

    assert Reader(w=log).all(last=True) == "one\ntw"


def test_a_part_has_whole_lines_unless_one_is_longer(log: Path) -> None:
    line = "x" * 999 + "\n"
    append(log, line * 100)
    first, more = Reader(w=log).once()
    assert first["w"] == line * (log_files.PIECE_BYTES // len(line))
    assert more

    log.write_text("y" * (3 * log_files.PIECE_BYTES) + "\nend\n")
    reader = Reader(w=log)
    assert reader.once() == ({"w": "y" * log_files.PIECE_BYTES}, True)
    assert reader.all() == "y" * (2 * log_files.PIECE_BYTES) + "\nend\n"


def test_logs_of_a_rank_share_a_part_and_none_is_left_out(tmp_path: Path) -> None:
    text = "".join(f"{number:07}\n" for number in range(5000))
    paths = {f"w{number}": tmp_path / f"{number}.log" for number in range(5)}
    for path in paths.values():
        path.write_text(text)
    reader = Reader(**paths)
    read: dict[str, str] = dict.fromkeys(paths, "")
    more = True
    while more:
        pieces, more = reader.once()
        assert sum(map(len, pieces.values())) <= log_files.PIECE_BYTES
        for name, piece in pieces.items():
            read[name] += piece
    assert read == dict.fromkeys(paths, text)


def test_a_position_is_searched_for_in_all_that_a_log_may_have() -> None:
    assert log_files.SEARCHED_BYTES > LARGEST_LOG


def test_lines_go_on_where_a_log_was_shortened_meanwhile(log: Path) -> None:
    numbers = iter(range(10**9))

    def write(size: int) -> str:
        text = ""
        while len(text) < size:
            text += f"2026-11-29 02:40:04,440 line {next(numbers)}\n"
        append(log, text)
        return text

    reader, written, read = Reader(w=log), "", ""
    for _ in range(5):
        written += write(LARGEST_LOG)
        read += reader.all()
        written += write(1000)
        _shorten(log)  # what the processes do
        read += reader.all()
        assert not reader.grown
    assert read == written


def test_it_begins_again_where_what_it_has_read_is_gone(log: Path) -> None:
    reader = Reader(w=log)
    append(log, "".join(f"old {number}\n" for number in range(1000)))
    assert reader.all()
    log.write_text("[older lines are left out]\nnew\n")

    assert reader.all() == "[older lines are left out]\nnew\n"

    # A part of a slow reader's, though the file is as long as before.
    log.write_text("".join(f"new {number}\n" for number in range(1000)))
    assert reader.all().startswith("new 0\n")


def test_bytes_that_are_no_text_are_shown_as_such(log: Path) -> None:
    log.write_bytes(b"\xff\xfe\n\xc3\xa9\n")

    assert Reader(w=log).all() == "\N{REPLACEMENT CHARACTER}" * 2 + "\né\n"


def test_what_is_no_file_of_the_ranks_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("text\n")
    (tmp_path / "link").symlink_to(secret)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    for name in ("link", "fifo", "directory", "nothing"):
        assert Reader(w=tmp_path / name).all() == ""
