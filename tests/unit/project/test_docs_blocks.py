"""What a block tells is compared line by line with what its commands print."""

import pytest

from tests.docs.blocks import Block, blocks, commands, courses, fits, pages


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


def test_each_block_says_where_it_is_run_or_why_not() -> None:
    faults = [
        f"docs/{block.page}:{block.line}: {block.fault}"
        for path in pages()
        for block in blocks(path)
        if block.fault
    ]

    assert not faults, "the marks are explained in tests/docs/blocks.py"


@pytest.mark.parametrize(
    "mark",
    [
        "",
        "run: slurms",
        "not run: no time",
        "not run: the same by tests/none.py",
        "apptainer",
    ],
)
def test_a_block_without_a_mark_that_is_known_has_a_fault(mark: str) -> None:
    assert Block("page.md", mark, "$ one\n").fault


def test_what_runs_in_the_course_of_a_page_follows_its_background() -> None:
    course = courses("slurm")["how-to/serve.md"]

    own = [n for n, block in enumerate(course) if block.page == "how-to/serve.md"]
    assert course[0].background
    assert own == [0, *range(len(course) - len(own) + 1, len(course))]
    assert "how-to/join.md" not in courses("slurm")
