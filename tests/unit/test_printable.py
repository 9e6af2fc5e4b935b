"""Text of others on a terminal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Debian GNU/Linux 13 (trixie)", "Debian GNU/Linux 13 (trixie)"),
        ("naïve-λ-日本", "naïve-λ-日本"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("byte \udcff", r"byte \udcff"),
    ],
)
def test_what_a_terminal_would_act_upon_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(), max_size=50) | st.binary().map(repr))
def test_all_of_it_can_be_printed_and_stays_as_it_is(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)
    assert printable(json.dumps(text)).isprintable()


def test_a_long_text_is_cut() -> None:
    assert printable("a" * 20, 5) == "aaaaa …"
    assert printable("a" * 5, 5) == "aaaaa"
