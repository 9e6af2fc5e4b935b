import os
from dataclasses import replace
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.resources.machine import Directory, take
from dask_runner.resources.scratch import Scratch, scratch
from tests.unit.machines import GIB, NODE


def choose(*directories: Directory) -> Scratch:
    return scratch(replace(NODE, directories=directories))


def directory(
    path: str,
    kind: str = "ext4",
    source: str = "default",
    free: int = 9 * GIB,
    problem: str = "",
    others: str = "",
    *,
    layered: bool = False,
) -> Directory:
    return Directory(path, source, kind, free, problem, others, layered)


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "gpfs", "beegfs", "tmpfs", "cifs"])
def test_network_and_memory_file_systems_are_passed_over(kind: str) -> None:
    chosen = choose(directory("/job", kind, "TMPDIR"), directory("/var/tmp", "xfs"))
    assert (chosen.path, chosen.source) == ("/var/tmp", "default, xfs")
    assert kind in chosen.refused[0]
    assert chosen.warnings == ()


@pytest.mark.parametrize("kind", ["overlay", "fuse.fuse-overlayfs", "fuse", "zfs", ""])
def test_file_systems_of_containers_and_unknown_ones_are_local(kind: str) -> None:
    assert choose(directory("/tmp", kind)).path == "/tmp"


def test_what_is_mounted_into_a_container_comes_before_its_layers() -> None:
    layers = directory("/var/tmp", "overlay", layered=True)

    chosen = choose(layers, directory("/tmp", "xfs"))

    assert chosen.path == "/tmp"
    assert "layers of this container (overlay)" in chosen.refused[0]
    assert chosen.warnings == ()


def test_the_layers_of_a_container_come_before_memory_without_a_warning() -> None:
    layers = directory("/var/tmp", "fuse.fuse-overlayfs", layered=True)

    chosen = choose(layers, directory("/tmp", "tmpfs"))

    assert (chosen.path, chosen.warnings) == ("/var/tmp", ())


def test_the_layers_of_a_container_are_taken_if_the_user_names_them() -> None:
    named = directory("/x", "overlay", "--local-directory", layered=True)

    chosen = choose(named, directory("/tmp"))

    assert (chosen.path, chosen.warnings) == ("/x", ())


@pytest.mark.parametrize(
    ("root", "mounted", "layered"),
    [
        ("overlay", "/elsewhere", True),
        ("fuse.fuse-overlayfs", "/elsewhere", True),
        ("overlay", "", False),
        ("ext4", "/elsewhere", False),
    ],
)
def test_layers_are_where_the_root_has_some_and_nothing_is_mounted(
    tmp_path: Path, root: str, mounted: str, layered: bool
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(
        f"1 0 0:58 / / rw - {root} {root} rw\n"
        f"2 1 0:59 / {mounted or tmp_path} rw - overlay overlay rw\n"
    )

    found = take({"TMPDIR": str(tmp_path)}, root=str(tmp_path)).directories[0]

    assert found.layered is layered


def test_first_local_candidate_wins() -> None:
    chosen = choose(directory("/a", source="SLURM_TMPDIR"), directory("/b"))
    assert chosen.path == "/a"
    assert chosen.refused == ()


def test_memory_is_taken_before_the_network_and_said() -> None:
    chosen = choose(directory("/n", "nfs"), directory("/m", "tmpfs"))
    assert chosen.path == "/m"
    assert "/m is in memory (tmpfs)" in chosen.warnings[0]
    assert len(chosen.refused) == 2


def test_network_is_the_last_resort_and_said() -> None:
    chosen = choose(directory("/n", "nfs"), directory("/x", problem="is not writable"))
    assert chosen.path == "/n"
    assert "network file system (nfs)" in chosen.warnings[0]


def test_full_disk_is_passed_over() -> None:
    assert choose(directory("/a", free=10), directory("/b")).path == "/b"


@pytest.mark.parametrize("kind", ["nfs", "tmpfs"])
def test_what_the_user_named_is_taken_with_a_warning(kind: str) -> None:
    chosen = choose(directory("/n", kind, "--local-directory"), directory("/b"))
    assert chosen.path == "/n"
    assert kind in chosen.warnings[0]


def test_what_others_can_take_away_is_taken_if_the_user_named_it() -> None:
    theirs = "/p belongs to uid 12346"
    chosen = choose(directory("/p", source="--local-directory", others=theirs))
    assert chosen.path == "/p"
    assert theirs in chosen.warnings[0]


def test_directory_of_the_user_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(ConfigError, match="--local-directory /x is not writable"):
        choose(directory("/x", "", "--local-directory", problem="is not writable"))


def test_no_directory_at_all_is_an_error_that_names_each() -> None:
    with pytest.raises(ConfigError, match=r"/a .*not writable; /b .*does not exist"):
        choose(
            directory("/a", problem="is not writable"),
            directory("/b", problem="does not exist"),
        )


def test_candidates_come_in_order_and_a_network_one_is_not_touched(
    tmp_path: Path,
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mountinfo").write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:40 / /lus\\040tre rw - lustre mds:/x rw\n"
        f"3 1 8:2 / {tmp_path} rw - xfs /dev/sdb rw\n"
    )
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "job")
    (tmp_path / "job").mkdir()
    environ = {
        "SLURM_TMPDIR": "/lus tre/none",
        "TMPDIR": str(link),
        "PBS_JOBDIR": "relative",
        "USER": "me",
    }
    found = take(environ, str(tmp_path / "new/one"), root=str(tmp_path)).directories
    assert [entry.path for entry in found[:3]] == [
        str(tmp_path / "new/one"),
        "/lus tre/none",
        str(tmp_path / "job"),
    ]
    assert [entry.kind for entry in found[:3]] == ["xfs", "lustre", "xfs"]
    assert [entry.problem for entry in found[:3]] == ["", "", ""]
    assert [entry.path for entry in found[3:]] == [
        "/local",
        "/scratch/me",
        "/var/tmp",
        "/tmp",
    ]


def test_problems_of_candidates_are_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path, problem in (
        (file, "is not a directory"),
        (file / "below", "does not exist"),
        ("/proc/self", "is not writable"),
    ):
        found = take({"TMPDIR": str(path)}).directories[0]
        assert found.source == "TMPDIR"
        assert found.problem == problem


def test_a_name_that_is_no_text_is_shown_as_one() -> None:
    found = take({"TMPDIR": "/caf\udce9"}).directories[0]
    assert (found.path, found.problem) == (r"/caf\xe9", "has a name that is no UTF-8")


def test_this_machine_has_a_place_for_scratch_files() -> None:
    chosen = scratch(take(os.environ))
    assert os.access(chosen.path, os.W_OK)
