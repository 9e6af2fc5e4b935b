"""What a process sees around it."""

import os
from pathlib import Path

import pytest

from dask_runner.mpi.surroundings import look

# mountinfo of a container as it was seen, with and without --contain.
SHARED = """\
1 0 0:58 / / rw - overlay overlay ro
2 1 0:61 / /dev rw - tmpfs tmpfs rw,size=65536k,mode=755
3 2 0:62 / /dev/shm rw - tmpfs shm rw,size=4194304k
4 1 0:50 /tmp /tmp rw - overlay overlay rw
"""
CONTAINED = """\
1 0 0:58 / / rw - overlay overlay ro
2 1 0:61 /dev /dev rw - tmpfs tmpfs rw,size=65536k,uid=1000,gid=1000
3 2 0:62 / /dev/shm rw - tmpfs tmpfs rw,uid=1000,gid=1000
4 1 0:61 /tmp /tmp rw - tmpfs tmpfs rw,size=65536k,uid=1000,gid=1000
"""


@pytest.mark.parametrize(
    ("mounts", "private"), [(SHARED, ()), (CONTAINED, ("/tmp", "/dev/shm"))]
)
def test_directories_of_the_container_are_told_from_the_hosts(
    tmp_path: Path, mounts: str, private: tuple[str, ...]
) -> None:
    parent = tmp_path / str(os.getppid())
    parent.mkdir()
    (parent / "stat").write_text(f"{os.getppid()} (odd ) name) S 0 1 1")
    (parent / "cmdline").write_bytes(b"slurmstepd: [3.0]\0\0")
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(mounts)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libmpi.so.12").touch()

    around = look({"LD_LIBRARY_PATH": f":{tmp_path}/lib"}, tmp_path)

    assert around.private == private
    assert around.ancestors == ("slurmstepd: [3.0]",)
    assert around.bound == (f"{tmp_path}/lib/libmpi.so.12",)


def test_the_surroundings_of_this_process_can_be_read() -> None:
    around = look({})

    assert around.ancestors
    assert around.bound == ()


# As it was seen in containers of Slurm 24.11, and as its documents have it.
GROUPS = {
    "4:memory:/slurm/uid_1000/job_7/step_0/task_1\n": "7.0",
    "9:pids:/docker/5f\n6:freezer:/docker/5f/slurm_c1/uid_1/job_34/step_2\n": "34.2",
    "0::/system.slice/slurmstepd.scope/job_7/step_12/user/task_0\n": "7.12",
    "0::/system.slice/c1_slurmstepd.scope/job_7/step_0/user/task_0/x\n": "7.0",
    "4:memory:/slurm/uid_1000/job_7/step_batch\n": "",
    "4:memory:/slurm/uid_1000/job_7/step_extern/task_0\n": "",
    "4:memory:/slurm/uid_1000/job_7/step_interactive\n": "",
    "4:memory:/slurm/uid_1000/job_7/step_4294967294/task_0\n": "",
    "0::/user.slice/user-1000.slice/libpod-34.scope\n": "",
    "0::/job_7/step_0\n": "",
    "4:memory:/slurm/uid_1000/job_7\n0::/\n": "",
    "0::/\n": "",
    "": "",
}


@pytest.mark.parametrize(("text", "step"), GROUPS.items())
def test_the_step_of_slurm_is_told_by_the_control_group(
    tmp_path: Path, text: str, step: str
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").touch()
    (tmp_path / "self/cgroup").write_text(text)

    assert look({}, tmp_path).step == step
