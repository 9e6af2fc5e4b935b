"""The scripts for shells, read by real shells: the arguments arrive, and no more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_runner import linux
from dask_runner.batch import job_script
from dask_runner.batch.job_script import Job
from dask_runner.batch.systems import BY_NAME
from dask_runner.errors import RunnerError
from tests.unit.batch.values import ARGS, TEXT
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("slurm", "pbs", "lsf", "sge", "oar")
SHELLS = [name for name in ("sh", "dash", "bash") if shutil.which(name)]
SITE = {"sge": {"parallel_environment": "mpi"}}

#: What stands in for the program that starts the ranks: it writes down its words.
RECORDER = '#!/bin/sh\nprintf "%s\\0" "$@" >>"$RECORD"\n'
#: What starts one rank on a host, where a shell reads the line.
STARTS = {"sge": "qrsh", "pbs": "pbs_tmrsh", "lsf": "blaunch", "oar": "oarsh"}
#: What stands in for these: it writes down the words of the line.
WORDS = """\
#!/bin/sh
for line; do :; done
case $line in "exec sh -c "*) eval "line=${line#exec sh -c }" ;; esac
line=${line#*&& env }
eval "set -- ${line%; status=*}"
"""
READER = f"""\
{WORDS}
printf "%s\\0" "$@" >>"$RECORD"
"""
#: Two hosts with three CPUs each, as each system tells.
HOSTS = "c1\nc1\nc1\nc2\nc2\nc2\n"
PE_HOSTS = "c1 3 all.q@c1 UNDEFINED\nc2 3 all.q@c2 UNDEFINED\n"


class Place:
    """A directory in which a script runs, and what its launcher was told there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.image = path / "an image's name"
        self.image.touch()
        (path / "bin").mkdir()
        for name in ("srun", "mpiexec"):
            (path / "bin" / name).write_text(RECORDER)
            (path / "bin" / name).chmod(0o755)
        for name in STARTS.values():
            (path / "bin" / name).write_text(READER)
            (path / "bin" / name).chmod(0o755)
        (path / "hosts").write_text(HOSTS)
        (path / "pe_hosts").write_text(PE_HOSTS)
        (path / "tmp").mkdir()
        self.environ = {
            "PATH": f"{path}/bin:{os.environ['PATH']}",
            "RECORD": f"{path}/record",
            "TMPDIR": f"{path}/tmp",
            "PBS_O_WORKDIR": str(path),
            "PBS_NODEFILE": f"{path}/hosts",
            "PBS_JOBID": "7.server",
            "OAR_NODEFILE": f"{path}/hosts",
            "LSB_DJOB_HOSTFILE": f"{path}/hosts",
            "PE_HOSTFILE": f"{path}/pe_hosts",
        }
        self.before = self.files()

    def run(self, shell: str, text: bytes) -> list[str]:
        """Run a script; return the words that its launcher got."""
        (self.path / "record").write_bytes(b"")
        done = self.ended(text, shell)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), text
        assert self.files() == self.before, text
        words = os.fsdecode((self.path / "record").read_bytes()).split("\0")[:-1]
        # OAR's script makes a file of a new name each time.
        return [re.sub(r"/tmp/tmp\.\w+$", "/tmp/NEW", word) for word in words]

    def files(self) -> set[str]:
        """Return what is there, beside what jobs of their own write."""
        ours = {"record", "tmp/dask-runner-ranks"}
        found = {str(one.relative_to(self.path)) for one in self.path.rglob("*")}
        return found - ours

    def ended(
        self, text: bytes, shell: str = "sh", **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a job script here, in a session of its own, of which nothing stays."""
        script = subprocess.Popen(
            [shell, "-s"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.path,
            env=self.environ | variables,
            start_new_session=True,
        )
        out, err = script.communicate(text, timeout=60)
        until(lambda: not in_session(script.pid), 5, lambda: in_session(script.pid))
        return subprocess.CompletedProcess(script.args, script.returncode, out, err)


def in_session(session: int) -> list[str]:
    """Return the command lines of the living processes of a session."""
    found = []
    for pid in (int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()):
        with suppress(ProcessLookupError):
            stat = linux.process(pid)
            # Init may take its time to wait for those that have ended.
            if stat and stat.state not in "ZX" and os.getsid(pid) == session:
                found.append(f"{pid} {linux.command_line(pid)}")
    return found


@contextmanager
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as name:
        yield Place(Path(name))


def written(
    name: str, args: list[str], given: dict[str, Any], *, no_image: bool = False
) -> bytes:
    job = Job(BY_NAME[name], tuple(args), given, no_image=no_image)
    return job_script.make(job, SITE, {})


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", NAMES)
def test_a_shell_finds_no_fault_in_it(name: str, shell: str) -> None:
    used = {"nodes": "2", "cpus_per_task": "3", "time": "1h", "partition": "x"}
    for options in ({"image": "/x.sif"}, used | {"image": "/x y.sif"}):
        text = written(name, ["script.py", "it's $a"], options)
        subprocess.run([shell, "-n"], input=text, check=True)


@settings(max_examples=20)
@given(ARGS, TEXT)
@pytest.mark.parametrize("name", NAMES)
def test_the_launcher_gets_the_arguments_as_they_were_given(
    name: str, args: list[str], option: str
) -> None:
    with place() as there:
        container = ["apptainer", "run", "--bind", option]
        given = {"image": str(there.image), "container": container}
        text = written(name, ["script.py", *args], given)

        for shell in SHELLS:
            words = there.run(shell, text)

            command = [*container, str(there.image), "script.py", *args]
            assert words[-len(command) :] == command


@settings(max_examples=20)
@given(st.sampled_from(["job_name", "partition", "account", "output"]), TEXT)
@pytest.mark.parametrize("name", NAMES)
def test_no_value_of_an_option_becomes_code(name: str, key: str, text: str) -> None:
    with place() as there:
        given = {"image": str(there.image)}
        want = there.run("sh", written(name, ["serve"], given))
        try:
            made = written(name, ["serve"], given | {key: text})
        except RunnerError:
            return
        assert there.run("sh", made) == want


def lines(words: list[str]) -> list[tuple[dict[str, str], list[str]]]:
    """Return the variables and the command of each line that was read."""
    found: list[tuple[dict[str, str], list[str]]] = []
    for word in words:
        name, equals, value = word.partition("=")
        if name == "PATH":
            found.append(({}, []))
        if equals and name.isupper() and not found[-1][1]:
            found[-1][0][name] = value
        else:
            found[-1][1].append(word)
    return found


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("name", "each", "ranks"),
    [("pbs", 1, 6), ("lsf", 1, 6), ("sge", 1, 2), ("sge", 2, 4), ("oar", 2, 4)],
)
def test_each_rank_is_told_how_many_there_are(
    name: str, each: int, ranks: int, shell: str
) -> None:
    with place() as there:
        given = {"ntasks_per_node": str(each)}
        text = written(name, ["-c", "it's $a"], given, no_image=True)

        found = lines(there.run(shell, text))

        assert len(found) == ranks
        for variables, command in found:
            assert command == ["dask-runner", "-c", "it's $a"]
            assert variables["DASK_RUNNER__SIZE"] == str(ranks)
            assert variables["PATH"] == there.environ["PATH"]


#: As each system does: a shell on the host runs the line, in another directory.
RUNS = """\
#!/bin/sh
for line; do :; done
case " $* " in *" c1 "*) export HOST=c1 ;; *" c2 "*) export HOST=c2 ;; esac
cd / && exec sh -c "$line"
"""


@pytest.mark.parametrize("name", STARTS)
def test_a_rank_begins_in_the_directory_of_the_job(name: str) -> None:
    with place() as there:
        (there.path / "bin" / STARTS[name]).write_text(RUNS)
        rank = there.path / "bin" / "dask-runner"
        rank.write_text('#!/bin/sh\nprintf "%s\\0" "$HOST" "$PWD" >>"$RECORD"\n')
        rank.chmod(0o755)
        there.path.joinpath("it's a job").mkdir()
        there.before = there.files()
        given = {"prologue": ['cd "it\'s a job"']}

        words = there.run("sh", written(name, ["serve"], given, no_image=True))

        assert set(words[::2]) == {"c1", "c2"}
        assert set(words[1::2]) == {str(there.path / "it's a job")}


def test_a_launcher_of_oars_user_finds_the_hosts_of_its_ranks() -> None:
    with place() as there:
        given = {"launcher": ["mpiexec"], "ntasks_per_node": "2"}

        words = there.run("sh", written("oar", ["serve"], given, no_image=True))

        new = f"{there.path}/tmp/NEW"
        assert words == ["-machinefile", new, "-n", "4", "dask-runner", "serve"]


def test_a_launcher_of_grid_engines_user_finds_the_hosts_of_its_ranks() -> None:
    with place() as there:
        given = {"launcher": ["mpiexec"], "ntasks_per_node": "2"}

        words = there.run("sh", written("sge", ["serve"], given, no_image=True))

        assert words == ["dask-runner", "serve"]
        hosts = (there.path / "tmp/dask-runner-ranks").read_text().split()
        assert hosts == ["c1", "c1", "c2", "c2"]


STATUSES = """\
#!/bin/sh
case " $* " in *" c1 "*) exit "$FIRST" ;; *) exit "$SECOND" ;; esac
"""


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (0, 0, 0),
        (3, 0, 3),
        (0, 3, 3),
        (137, 0, 137),
        (0, 137, 137),
        (143, 143, 143),
        # Of a host that is lost.
        (0, 255, 0),
        (255, 75, 75),
        (255, 255, 255),
    ],
)
def test_a_job_has_the_highest_status_of_its_ranks(
    name: str, shell: str, first: int, second: int, status: int
) -> None:
    with place() as there:
        (there.path / "bin" / STARTS[name]).write_text(STATUSES)
        statuses = {"FIRST": str(first), "SECOND": str(second)}

        done = there.ended(
            written(name, ["serve"], {}, no_image=True), shell, **statuses
        )

        assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


@pytest.mark.parametrize("name", STARTS)
def test_a_host_that_says_nothing_is_not_waited_for(name: str) -> None:
    with place() as there:
        silent = '#!/bin/sh\ncase " $* " in *" c1 "*) exit 3 ;; esac\nexec sleep 600\n'
        (there.path / "bin" / STARTS[name]).write_text(silent)
        text = written(name, ["serve"], {}, no_image=True)

        done = there.ended(text.replace(b"sleep 15", b"sleep 0.2"))

        assert done.returncode == 3


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize(("code", "status"), [("3", 3), ("255", 254), ("0", 0)])
def test_a_status_that_would_be_a_lost_hosts_is_another(
    name: str, code: str, status: int
) -> None:
    with place() as there:
        (there.path / "bin" / STARTS[name]).write_text(RUNS)
        rank = there.path / "bin" / "dask-runner"
        rank.write_text(f"#!/bin/sh\nexit {code}\n")
        rank.chmod(0o755)

        done = there.ended(written(name, ["serve"], {}, no_image=True))

        assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


@pytest.mark.parametrize("name", STARTS)
def test_the_others_go_on_without_a_host_that_is_lost(name: str) -> None:
    with place() as there:
        lost = '#!/bin/sh\ncase " $* " in *" c1 "*) exit 255 ;; esac\nsleep 1; exit 4\n'
        (there.path / "bin" / STARTS[name]).write_text(lost)
        text = written(name, ["serve"], {}, no_image=True)

        done = there.ended(text)

        assert done.returncode == 4


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_cannot_be_read_is_told_before_a_rank_starts(name: str) -> None:
    with place() as there:
        text = written(name, ["serve"], {"image": "/no/such $(touch x).sif"})

        done = there.ended(text)

        assert done.returncode == 78
        assert b"cannot read the image /no/such $(touch x).sif\n" in done.stderr
        assert b"you can: " in done.stderr
        assert there.files() == there.before


def test_an_image_in_a_registry_is_left_to_apptainer() -> None:
    with place() as there:
        text = written("slurm", ["serve"], {"image": "docker://x/y:1"})

        assert there.run("sh", text)[-2:] == ["docker://x/y:1", "serve"]


TELLER = f"""\
{WORDS}
while [ "$1" != apptainer ]; do
    case $1 in DASKRUNNER_JOB_END_TIME=*) printf "%s\\0" "${{1#*=}}" >>"$RECORD" ;; esac
    shift
done
"""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["pbs", "lsf", "sge", "oar"])
@pytest.mark.parametrize(
    ("given", "told", "seconds"),
    [
        ({"time": "1h"}, {}, 3600),
        ({"time": "1h"}, {"PBS_WALLTIME": "60"}, 60),
        ({}, {"OAR_JOB_WALLTIME_SECONDS": "7200"}, 7200),
        ({}, {"DASKRUNNER_JOB_END_TIME": "1"}, None),
    ],
)
def test_the_launcher_is_told_when_the_job_ends(
    name: str,
    shell: str,
    given: dict[str, Any],
    told: dict[str, str],
    seconds: int | None,
) -> None:
    with place() as there:
        (there.path / "bin" / STARTS[name]).write_text(TELLER)
        there.environ |= told
        text = written(name, ["serve"], {"image": str(there.image)} | given)
        before = int(time.time())

        end, *others = there.run(shell, text)
        assert set(others) <= {end}

        if seconds is None:
            assert end == ""  # and not that of the job which has submitted this one
        else:
            assert before <= int(end) - seconds <= time.time()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("asks", "status", "refuses"),
    [(True, 143, False), (True, 143, True), (False, 3, False)],
)
def test_slurms_job_is_queued_again_if_the_cluster_asks_for_it(
    shell: str, *, asks: bool, status: int, refuses: bool
) -> None:
    with place() as there:
        srun = f"{'>$DASKRUNNER_REQUEUE;' if asks else ''} kill $PPID; exit {status}"
        scontrol = f"{RECORDER}exit {int(refuses)}"
        for name, text in (("srun", f"#!/bin/sh\n{srun}\n"), ("scontrol", scontrol)):
            (there.path / "bin" / name).write_text(text)
            (there.path / "bin" / name).chmod(0o755)
        home = there.path / "a home"
        home.mkdir()
        there.environ |= {"HOME": str(home), "SLURM_JOB_ID": "7"}
        given = {"image": str(there.image)}
        job = Job(BY_NAME["slurm"], ("script.py",), given, requeues=True)

        done = there.ended(job_script.make(job, {}, {}), shell)

        assert done.returncode == status, done
        record = there.path / "record"
        asked = record.read_text().split("\0")[:-1] if record.exists() else []
        assert asked == (["requeue", "7"] if asks else [])
        assert (b"not queued again" in done.stderr) == refuses
        assert not list(home.iterdir())
