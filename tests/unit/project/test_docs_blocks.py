"""What a block tells is compared line by line with what its commands print."""

import pytest

from tests.docs.blocks import Block, commands, fits


@pytest.mark.parametrize(
    ("told", "printed", "same"),
    [
        ("ended after ... s\n", "ended after 1.5 s\n", True),
        ("ended after ... s\n", "ended after 1.5\nmore s\n", False),
        ("a\nb\n", "a\nx\nb\n", False),
        ("a\n...\nb\n", "a\nx\ny\nb\n", True),
        ("", "a\n", False),
        ("", "", True),
        ("a.b\n", "axb\n", False),
    ],
)
def test_dots_stand_for_a_part_of_a_line_or_alone_for_lines(
    told: str, printed: str, same: bool
) -> None:
    assert fits(told, printed) == same


def test_each_prompt_is_a_command_with_its_output() -> None:
    block = Block("page.md", "run: local", "$ one\n1\n$ two\n")

    assert commands(block) == [("one", "1\n"), ("two", "")]


def test_output_before_a_command_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"page\.md"):
        commands(Block("page.md", "run: local", "1\n$ one\n"))
