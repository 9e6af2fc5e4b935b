"""What the kernel's files tell, read as they were seen."""

import os
from pathlib import Path

import pytest

from dask_runner import linux
from dask_runner.linux import Mount, ProcessStat

# A shell that waits, a stopped sleep, and one that ended with status 3.
STATS = {
    "17 (bash) S 1 17 17 34816 17 4194304 1 2 3 4 5 6 7 8 20 0 1 0 8841 7 900 "
    "18446744073709551615 1 1 0 0 0 65536 3686404 1266761467 1 0 0 17 0 0 0 0 0 0 "
    "0 0 0 0 0 0 0": ProcessStat("S", 1, "8841", 0),
    "18 (odd ) name (x) T 17 18 17 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 8842 7 900 "
    "18446744073709551615 1 1 0 0 0 0 0 0 1 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0": (
        ProcessStat("T", 17, "8842", 0)
    ),
    "19 (sleep) Z 17 19 17 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 8843 0 0 "
    "18446744073709551615 0 0 0 0 0 0 0 0 1 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 "
    "768": ProcessStat("Z", 17, "8843", 768),
    # Before Linux 3.5 nothing tells how it ended.
    "20 (old) S 17 20 17 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 8844 0 0": ProcessStat(
        "S", 17, "8844", None
    ),
}


@pytest.mark.parametrize(("text", "told"), STATS.items())
def test_a_process_is_told_whatever_its_name(
    tmp_path: Path, text: str, told: ProcessStat
) -> None:
    (tmp_path / "5").mkdir()
    (tmp_path / "5/stat").write_text(f"{text}\n")

    assert linux.process(5, tmp_path) == told


@pytest.mark.parametrize("text", ["", "5 (cut", "5 (cut) S"])
def test_a_process_of_which_nothing_is_told_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "5").mkdir()
    (tmp_path / "5/stat").write_text(text)

    assert linux.process(5, tmp_path) is None
    assert linux.process(6, tmp_path) is None


def test_this_process_is_told() -> None:
    found = linux.process(os.getpid())

    assert found
    assert (found.parent, found.state in "RS") == (os.getppid(), True)
    assert "python" in linux.command_line(os.getpid()) or "pytest" in (
        linux.command_line(os.getpid())
    )
    assert os.getpid() not in linux.children()


def test_mounts_are_told_with_the_names_that_were_escaped(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(
        "1 0 0:58 / / rw - overlay overlay rw,lowerdir=/a\n"
        "36 35 98:0 /mnt1 /with\\040space rw,noatime master:1 - ext3 /dev/root rw,x\n"
        "of another form\n"
        "2 1 0:61 /cut /off rw - tmpfs\n"
    )

    assert linux.mounted(tmp_path) == (
        Mount("/", "/", "overlay", ("rw", "lowerdir=/a")),
        Mount("/mnt1", "/with space", "ext3", ("rw", "x")),
    )
    assert linux.mounted(tmp_path / "none") == ()


def test_a_file_is_itself_by_any_name_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    (tmp_path / "two").touch()
    (tmp_path / "link").symlink_to("one")

    one, two, link = (
        linux.identity(tmp_path / name) for name in ("one", "two", "link")
    )

    assert one == link != two
    assert linux.identity(tmp_path / "none") == []
