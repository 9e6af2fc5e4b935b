"""What the kernel's files tell, read as they were seen."""

import os
from pathlib import Path

import pytest

from dask_runner import linux
from dask_runner.linux import Mount, ProcessStat

# One that runs, one that was stopped, and one that ended with status 3.
STATS = {
    "12117 (python3) R 12112 12112 4883 0 -1 4194304 2994 6804 2 0 2 0 3 1 20 0 1 0 "
    "1393791 16961536 3293 18446744073709551615 94568606326784 94568606327125 "
    "140730458169744 0 0 0 0 16781312 2 0 0 0 17 1 0 0 0 0 0 94568606338480 "
    "94568606339096 94568616525824 140730458175531 140730458175574 140730458175574 "
    "140730458177487 0": ProcessStat("R", 12112, "1393791", 0),
    "12114 (odd ) name (x) T 12112 12112 4883 0 -1 4194304 285 0 2 0 0 0 0 0 20 0 1 0 "
    "1393771 2990080 417 18446744073709551615 94604864450560 94604864468489 "
    "140727937567456 0 0 0 0 6 0 1 0 0 17 1 0 0 0 0 0 94604864482576 94604864483840 "
    "94605236600832 140727937575454 140727937575459 140727937575459 140727937576937 "
    "19": ProcessStat("T", 12112, "1393771", 19),
    "12158 (python3) Z 12117 12112 4883 0 -1 4227148 221 0 0 0 0 0 0 0 20 0 1 0 "
    "1393799 0 0 18446744073709551615 0 0 0 0 0 0 0 16781312 2 1 0 0 17 1 0 0 0 0 0 "
    "0 0 0 0 0 0 0 768": ProcessStat("Z", 12117, "1393799", 768),
    # Before Linux 3.5 nothing tells how it ended.
    "20 (old) S 17 20 17 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 8844 0 0": ProcessStat(
        "S", 17, "8844", None
    ),
}


@pytest.mark.parametrize(
    ("text", "told"), STATS.items(), ids=["running", "stopped", "dead", "old"]
)
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


def test_the_first_variables_are_those_of_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/environ").write_bytes(b"A=1\0B=a=b\0nonsense\0C=\0")
    assert linux.first_environ(tmp_path) == {"A": "1", "B": "a=b", "C": ""}


def test_where_they_are_hidden_there_are_none(tmp_path: Path) -> None:
    assert linux.first_environ(tmp_path) == {}
