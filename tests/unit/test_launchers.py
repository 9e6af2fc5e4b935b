"""From environments, captured or documented, to the World; and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError, UsageError
from dask_runner.launchers import (
    CHOICES,
    LAUNCHERS,
    OWN_VARIABLES,
    Launcher,
    detect,
    explain,
    may_be_outlived,
    speaks,
)
from dask_runner.slurm_step import srun_line, tasks_on_node
from dask_runner.world import World

ENVIRONS = Path(__file__).parent.parent / "data" / "environ"
NUMBERS = ("rank", "size", "local_rank", "local_size")


def environ(name: str) -> dict[str, str]:
    """Return the variables of a captured environment."""
    lines = (ENVIRONS / f"{name}.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def stated(path: Path, word: str) -> list[str]:
    """Return what the head of a captured environment says about a word."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = f"# {word}: "
    return [line.removeprefix(head) for line in lines if line.startswith(head)]


def world(text: str) -> World | None:
    """Return the World that an expect line describes."""
    if text == "none":
        return None
    fields = dict(word.split("=", 1) for word in text.split(" "))
    values = {
        name: (None if value == "-" else int(value)) if name in NUMBERS else value
        for name, value in fields.items()
    }
    return World(**values)


FILES = sorted(ENVIRONS.glob("*.env"))
WORLDS = [path.stem for path in FILES if stated(path, "expect")]
ERRORS = [path.stem for path in FILES if stated(path, "error")]

SLURM = {
    "SLURM_CLUSTER_NAME": "linux",
    "SLURM_JOB_ID": "4711",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_PROCID": "3",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}
BATCH = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
}
HYDRA = {
    "MPI_LOCALNRANKS": "2",
    "MPI_LOCALRANKID": "1",
    "PMI_RANK": "1",
    "PMI_SIZE": "2",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_SIZE": "1",
    "OMPI_TOOL_NAME": "mpiexec",
    "PMIX_NAMESPACE": "prterun-node1-4242@1",
    "PRTE_LAUNCHED": "1",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_environment_says_where_it_comes_from_and_what_is_expected(
    path: Path,
) -> None:
    first, second, *_ = path.read_text(encoding="utf-8").splitlines()
    assert re.match(r"# (captured \d{4}-\d\d-\d\d|documented): ", first)
    assert re.match(r"# (expect|error): ", second)


@pytest.mark.parametrize("name", WORLDS)
def test_an_environment_gives_the_expected_world(name: str) -> None:
    (expected,) = stated(ENVIRONS / f"{name}.env", "expect")
    assert detect(environ(name)) == world(expected)


@pytest.mark.parametrize("name", ERRORS)
def test_an_environment_that_cannot_work_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError) as failure:
        detect(environ(name))
    for words in stated(ENVIRONS / f"{name}.env", "error"):
        assert words in str(failure.value)


@pytest.mark.parametrize("name", [row.name for row in LAUNCHERS])
def test_each_launcher_of_the_table_has_an_environment(name: str) -> None:
    expected = [world(stated(ENVIRONS / f"{one}.env", "expect")[0]) for one in WORLDS]
    assert name in {one.launcher for one in expected if one} | {"pmi"}


def test_the_order_of_the_table_is_what_the_reasons_say() -> None:
    assert [row.name for row in LAUNCHERS] == [
        "local",
        "torchrun",
        "openmpi",
        "prterun",
        "jsm",
        "flux",
        "pals",
        "hydra",
        "mvapich",
        "slurm",
        "pmi",
        "htcondor",
        "kubernetes",
        "aws-batch",
    ]
    assert all(row.why_here for row in LAUNCHERS)


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (inner, outer)
        for place, inner in enumerate(LAUNCHERS)
        for outer in LAUNCHERS[place + 1 :]
        # Two of these leave no trace of which came last; see the next test.
        if not (inner.is_mpiexec and outer.is_mpiexec)
    ],
    ids=lambda row: row.name,
)
def test_the_inner_of_two_launchers_counts(inner: Launcher, outer: Launcher) -> None:
    def sample(row: Launcher) -> dict[str, str]:
        names = [
            name
            for name in WORLDS
            if (one := detect(environ(name))) and one.launcher == row.name
        ]
        # The one with the fewest variables: nothing else is inherited in it.
        return min(map(environ, names), key=len) if names else HYDRA_WITHOUT_LOCAL

    both, alone = detect({**sample(outer), **sample(inner)}), detect(sample(inner))
    # The name of the job may be that of the batch job further out.
    assert replace(both, job_id="") == replace(alone, job_id="")


HYDRA_WITHOUT_LOCAL = {"PMI_RANK": "1", "PMI_SIZE": "2"}


def test_two_mpiexec_that_disagree_are_refused_with_both_named() -> None:
    with pytest.raises(ConfigError) as failure:
        detect({**HYDRA, **OPEN_MPI})
    text = str(failure.value)
    assert "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1" in text
    assert "PMI_RANK=1 PMI_SIZE=2" in text
    assert "--launcher openmpi or --launcher hydra" in text


@pytest.mark.parametrize(("choice", "size"), [("openmpi", 1), ("hydra", 2)])
def test_of_two_mpiexec_the_chosen_one_counts(choice: str, size: int) -> None:
    found = detect({**HYDRA, **OPEN_MPI}, choice)
    assert (found.launcher, found.size) == (choice, size)


def test_mpirun_outside_of_srun_with_pmix_is_not_the_innermost() -> None:
    both = {**OPEN_MPI, **SLURM, "PMIX_NAMESPACE": "slurm.pmix.4711.0"}
    assert detect(both).launcher == "slurm"


def test_mpirun_inside_of_jsrun_is_recognised_by_what_only_mpirun_sets() -> None:
    jsm = environ("jsm-rank3")
    assert detect({**jsm, **OPEN_MPI}).launcher == "openmpi"


def test_nothing_set_is_no_launcher() -> None:
    assert detect({"PATH": "/usr/bin", "HOME": "/home/user"}) is None
    assert explain({}) == [("launcher", "none", "no launcher's variables are set")]


@pytest.mark.parametrize("choice", ["none", "local"])
@pytest.mark.parametrize("around", [SLURM, BATCH, HYDRA, {}])
def test_no_launcher_on_request_ignores_what_is_there(
    choice: str, around: dict[str, str]
) -> None:
    assert detect(around, choice) is None


@pytest.mark.parametrize("choice", ["auto", "none", "local"])
def test_ranks_that_we_started_stay_ranks_whatever_the_choice(choice: str) -> None:
    ours = dict(zip(OWN_VARIABLES, ("1", "2", "x"), strict=True))
    found = detect({**SLURM, **ours}, choice)
    assert (found.launcher, found.rank, found.size) == ("local", 1, 2)


def test_a_chosen_launcher_counts_though_another_is_further_in() -> None:
    assert detect({**SLURM, **HYDRA}).launcher == "hydra"
    assert detect({**SLURM, **HYDRA}, "slurm").rank == 3


@pytest.mark.parametrize("row", LAUNCHERS[1:], ids=lambda row: row.name)
def test_a_chosen_launcher_that_is_not_there_names_what_is_missing(
    row: Launcher,
) -> None:
    with pytest.raises(ConfigError) as failure:
        detect({}, row.name)
    text = str(failure.value)
    assert f"--launcher {row.name}" in text
    assert all(name in text for name in row.marks)


def test_an_unknown_launcher_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as failure:
        detect({}, "srun")
    assert all(choice in str(failure.value) for choice in CHOICES)


def test_a_forgotten_srun_is_refused_with_the_exact_line() -> None:
    with pytest.raises(ConfigError) as failure:
        detect(BATCH, argv=["--layout", "shared", "my script.py", "a"])
    text = str(failure.value)
    assert "srun dask-runner --layout shared 'my script.py' a\n" in text
    assert "--launcher none" in text


def test_the_line_inside_an_image_runs_the_image() -> None:
    inside = {**BATCH, "APPTAINER_CONTAINER": "/images/dask-runner.sif"}
    line = "srun apptainer run /images/dask-runner.sif script.py"
    assert srun_line(inside, ["script.py"]) == line


def test_the_line_repeats_the_cpus_of_a_task() -> None:
    line = srun_line({**BATCH, "SLURM_CPUS_PER_TASK": "8"}, ["script.py"])
    assert line == "srun --cpus-per-task=8 dask-runner script.py"


@pytest.mark.parametrize(
    "changes",
    [
        # Two nodes, and no number of tasks: sbatch -N2.
        {"SLURM_NTASKS": None},
        # salloc on a login node: no task at all.
        {"SLURM_PROCID": None, "SLURM_LOCALID": None, "SLURM_NODEID": None},
        # Should a batch script or salloc's shell ever show its step's number.
        {"SLURM_STEP_ID": "4294967291"},
        {"SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
@pytest.mark.parametrize("choice", ["auto", "slurm"])
def test_srun_is_forgotten_in_any_kind_of_allocation(
    changes: dict[str, str | None], choice: str
) -> None:
    variables = {**BATCH, **changes}
    with pytest.raises(ConfigError, match="is not a task of srun"):
        detect({name: text for name, text in variables.items() if text}, choice)


def test_variables_of_an_outer_step_do_not_make_a_task_of_a_batch_script() -> None:
    # sbatch -n4 typed in the shell of srun -n1 --pty bash.
    inherited = {
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_STEP_TASKS_PER_NODE": "1",
        "SLURM_TASKS_PER_NODE": "2(x2)",
    }
    with pytest.raises(ConfigError, match="SLURM_NTASKS=4, but"):
        detect({**BATCH, **inherited})
    # srun --preserve-env makes the same: whoever asks for it can say so.
    assert detect({**BATCH, **inherited}, "slurm").size == 1


@pytest.mark.parametrize("tasks", ["1", None])
def test_a_batch_script_with_one_task_has_no_launcher(tasks: str | None) -> None:
    variables = {**BATCH, "SLURM_NTASKS": tasks, "SLURM_JOB_NUM_NODES": "1"}
    assert detect({name: text for name, text in variables.items() if text}) is None


@pytest.mark.parametrize("inner", [HYDRA, OPEN_MPI, {**environ("torchrun-rank5")}])
def test_srun_is_not_missed_where_something_else_started_the_ranks(
    inner: dict[str, str],
) -> None:
    assert detect({**BATCH, **inner}).launcher != "slurm"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "-1",
        "+1",
        "1.5",
        " 1",
        "1_0",
        "0x1",
        "\N{ARABIC-INDIC DIGIT ONE}",
        str(10**9),
    ],
)
@pytest.mark.parametrize(
    "name",
    ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NODEID"],
)
def test_a_variable_that_is_no_sensible_number_is_named_with_its_value(
    name: str, value: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        detect({**SLURM, name: value})
    assert f"{name} is {value!r}" in str(failure.value) or (
        f"{name} is empty" in str(failure.value) and not value
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SLURM_PROCID": "7"}, "SLURM_PROCID=7 SLURM_STEP_NUM_TASKS=4"),
        ({"SLURM_STEP_NUM_TASKS": "0"}, "SLURM_STEP_NUM_TASKS is '0'"),
        ({"SLURM_LOCALID": "2"}, "SLURM_LOCALID=2"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x"}, "SLURM_STEP_TASKS_PER_NODE is '2(x'"),
        ({"SLURM_STEP_TASKS_PER_NODE": ""}, "SLURM_STEP_TASKS_PER_NODE is ''"),
        ({"SLURM_JOB_ID": ""}, "SLURM_JOB_ID is not set or empty"),
    ],
)
def test_variables_that_contradict_each_other_are_refused(
    changes: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        detect({**SLURM, **changes})
    assert words in str(failure.value)


def test_a_step_without_a_size_names_the_variables_that_would_tell() -> None:
    without = {k: v for k, v in SLURM.items() if k != "SLURM_STEP_NUM_TASKS"}
    with pytest.raises(ConfigError, match="SLURM_STEP_NUM_TASKS and SLURM_NTASKS are"):
        detect(without)


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("4", [4, None]),
        ("2(x2)", [2, 2, None]),
        ("2(x2),1", [2, 2, 1, None]),
        ("3,2(x3),1", [3, 2, 2, 2, 1, None]),
        ("16(x2),15(x10)", [16, 16] + [15] * 10 + [None]),
    ],
)
def test_tasks_of_each_node_are_read_as_slurm_writes_them(
    text: str, tasks: list[int | None]
) -> None:
    assert [tasks_on_node(text, node) for node in range(len(tasks))] == tasks


@pytest.mark.parametrize("text", ["", "x", "2(x)", "2(x2", "2(2)", "2,", ",2", "-1"])
def test_tasks_of_each_node_that_slurm_never_wrote_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="no number"):
        tasks_on_node(text, 5)


def test_the_key_tells_jobs_steps_and_requeues_apart() -> None:
    changes = [
        {},
        {"SLURM_JOB_ID": "4712"},
        {"SLURM_STEP_ID": "1"},
        {"SLURM_RESTART_COUNT": "1"},
        {"SLURM_CLUSTER_NAME": "other"},
        # No two ways to spell the same key.
        {"SLURM_CLUSTER_NAME": "linux.4711"},
        {"SLURM_CLUSTER_NAME": "linux_2e4711"},
        {"SLURM_CLUSTER_NAME": "linux/../4711"},
        {"SLURM_CLUSTER_NAME": "línux"},
        {"SLURM_CLUSTER_NAME": "l" * 300},
        {"SLURM_CLUSTER_NAME": "l" * 301},
    ]
    keys = [detect({**SLURM, **change}).key for change in changes]
    assert len(set(keys)) == len(changes)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,160}", key) for key in keys)


def test_all_ranks_of_a_launch_have_one_key() -> None:
    ranks = [{**SLURM, "SLURM_PROCID": str(rank)} for rank in range(4)]
    assert len({detect(rank).key for rank in ranks}) == 1


@pytest.mark.parametrize("name", WORLDS)
def test_every_field_of_the_world_is_explained(name: str) -> None:
    found = detect(environ(name))
    lines = explain(environ(name))
    if found is None:
        assert len(lines) == 1
        return
    fields = [line for line in lines if line[0] != "inherited"]
    assert [field for field, _, _ in fields] == list(World.__dataclass_fields__)
    for field, value, source in fields:
        known = getattr(found, field) not in (None, "")
        assert value == (str(getattr(found, field)) if known else "unknown")
        assert bool(source) == known


def test_launchers_further_out_are_mentioned_when_they_say_something_else() -> None:
    lines = explain({**SLURM, **HYDRA})
    assert lines[-1] == (
        "inherited",
        "slurm",
        "SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=4",
    )


@pytest.mark.parametrize(
    ("variables", "choice", "expected"),
    [
        ({}, "auto", True),
        (BATCH, "auto", True),
        (SLURM, "auto", False),
        ({**SLURM, "SLURM_PROCID": "0"}, "auto", True),
        # Wrong for this rank alone.
        ({**SLURM, "SLURM_PROCID": "7"}, "auto", True),
        ({**SLURM, "SLURM_PROCID": "x"}, "auto", True),
        ({**SLURM, "SLURM_LOCALID": "x"}, "auto", True),
        # Wrong for all of them alike.
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "0"}, "auto", False),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "0", "SLURM_PROCID": "0"}, "auto", True),
        (SLURM, "openmpi", False),
        (SLURM, "no such launcher", False),
        ({**SLURM, **HYDRA}, "slurm", False),
        (SLURM, "none", True),
        ({"DASKRUNNER_RANK": "1", "DASKRUNNER_SIZE": "2"}, "none", False),
    ],
)
def test_an_error_that_all_see_is_printed_by_one(
    variables: dict[str, str], choice: str, expected: bool
) -> None:
    assert speaks(variables, choice) is expected


def test_thin_ranks_load_nothing_heavy_with_the_table() -> None:
    code = "import sys; import dask_runner.launchers; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "runner")},
    )
    heavy = {"asyncio", "shlex", "hashlib", "dask", "click", "socket", "subprocess"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "may"),
    [("openmpi", True), ("hydra", True), ("slurm", False), ("local", False)],
)
def test_ranks_of_an_mpiexec_may_outlive_it(name: str, may: object) -> None:
    assert may_be_outlived(name) is may
