"""The followers of the images and of Python: one table, one set of limits and words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dask_runner import __version__
from dask_runner.node import follower
from images.follower import header

ROOT = Path(__file__).parents[3]
SOURCE = (ROOT / "images/follower/dask-runner.c").read_text()
TEXT = header.header()
NAMES = (*header.TEXTS, *header.NUMBERS, *header.LISTS, *header.SIGNALS, "GLANCES")

#: Constants of follower.py that the program in C has no use for, and why.
OTHERS = {
    "TYPE_CHECKING": "of Python",
    "APART": "any other line is this one",
    "LOST": "of the leader, which says the status",
}


#: What the header has in milliseconds, and the constant in seconds.
MILLISECONDS = {
    "FIND_LEADER_MS": "FIND_LEADER_SECONDS",
    "FIRST_LOOK_MS": "FIRST_LOOK_SECONDS",
    "LAST_LOOK_MS": "LAST_LOOK_SECONDS",
}


def defined() -> dict[str, str]:
    return dict(re.findall(r"^#define (\w+) (.+)$", TEXT, re.MULTILINE))


def strings(name: str) -> list[str]:
    """Return the strings of an array of the header."""
    found = re.search(rf"\b{name}\[\] = (.*?);\n", TEXT, re.DOTALL)
    assert found, name
    return [json.loads(each) for each in re.findall(r'"(?:[^"\\]|\\.)*"', found[1])]


def test_texts_and_numbers_are_those_of_python() -> None:
    found = defined()

    assert json.loads(found["VERSION"]) == __version__
    texts = ("ALONE", "NAME", "WATCHED", "WATCHES", "HELD", "PLAYED", "END", "YOURSELF")
    for name in texts:
        assert json.loads(found[name]) == getattr(follower, name), name
    numbers = {*header.NUMBERS} - set(MILLISECONDS)
    assert {"LONGEST_NAME", "ANSWER_SECONDS"} <= numbers
    for name in numbers:
        assert int(found[name]) == getattr(follower, name), name
    for name, seconds in MILLISECONDS.items():
        assert int(found[name]) / 1000 == getattr(follower, seconds), name


def test_tables_are_those_of_python() -> None:
    assert strings("NO_RUN") == list(follower.NO_RUN)
    assert strings("SHARED") == [".", *follower.SHARED]
    assert strings("GLANCES") == [
        text for launcher, rank, launch in follower.GLANCES
        for text in (launcher, rank, *launch)
    ]  # fmt: skip
    assert "SIGNALS[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};" in TEXT
    assert "ENDS[] = {SIGTERM, SIGINT};" in TEXT


def test_each_constant_of_python_is_shared_or_of_no_use_to_the_other() -> None:
    constants = {name for name in vars(follower) if re.fullmatch(r"[A-Z_]{2,}", name)}
    shared = {MILLISECONDS.get(name, name) for name in NAMES} - {"VERSION"}

    assert constants == shared | set(OTHERS)


@pytest.mark.parametrize("name", NAMES)
def test_the_program_in_c_uses_what_it_is_given(name: str) -> None:
    assert re.search(rf"\b{name}\b", SOURCE)
    # And does not say it a second time.
    assert not re.search(rf"#define {name}\b|\b{name}(\[\])? =", SOURCE)


def test_the_program_in_c_has_no_text_of_the_tables_itself() -> None:
    texts = {
        *header.TEXTS.values(),
        *follower.NO_RUN,
        *strings("GLANCES"),
        *strings("SHARED"),
    }

    assert [text for text in sorted(texts) if json.dumps(text) in SOURCE] == []
