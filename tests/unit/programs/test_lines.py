"""Whole lines of pieces, with labels."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_runner.programs.lines import LONGEST_LINE, Lines, blocks

PIECES = st.lists(st.binary(max_size=9).map(lambda some: some.replace(b"x", b"\n")))


def carried(label: str, pieces: list[bytes]) -> bytes:
    lines = Lines(label)
    taken = [lines.labelled(lines.take(piece)) for piece in pieces]
    return b"".join([*taken, lines.labelled(lines.rest())])


def test_each_line_has_the_label_and_only_its_begin() -> None:
    assert carried("3", [b"a\nb", b"c\n", b"\nd"]) == b"[3] a\n[3] bc\n[3] \n[3] d\n"


def test_without_a_label_the_lines_are_as_they_are() -> None:
    assert carried("", [b"a\nb", b"c"]) == b"a\nbc\n"


def test_a_name_cannot_command_a_terminal() -> None:
    assert carried("\x1b[2J", [b"a"]) == b"[\\x1b[2J] a\n"


@given(PIECES)
def test_nothing_is_lost_and_nothing_added_but_labels_and_a_last_end(
    pieces: list[bytes],
) -> None:
    text = b"".join(pieces)
    end = b"" if text.endswith(b"\n") or not text else b"\n"
    lines = (text + end).splitlines(keepends=True) if b"\r" not in text else None
    found = carried("1-1", pieces)
    assert found.replace(b"[1-1] ", b"") == text.replace(b"[1-1] ", b"") + end
    if lines is not None and not set(b"\v\f\x1c\x1d\x1e\x85") & set(text):
        assert found == b"".join(b"[1-1] " + line for line in lines)


def test_a_line_without_end_is_broken_before_it_fills_the_memory() -> None:
    lines = Lines("0")
    taken = lines.take(b"." * LONGEST_LINE)
    assert taken == b"." * LONGEST_LINE + b"\n"
    assert lines.rest() == b""


@given(PIECES, st.integers(1, 20))
def test_blocks_are_whole_lines_that_fit(pieces: list[bytes], most: int) -> None:
    text = b"".join(pieces)
    text += b"" if text.endswith(b"\n") or not text else b"\n"
    found = blocks(text, most)
    assert b"".join(found) == text
    for block in found:
        assert block.endswith(b"\n")
        assert len(block) <= most or block.count(b"\n") == 1
