"""Which processes of a Slurm job are tasks of srun, and what is said without."""

from __future__ import annotations

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.detect import detect
from dask_runner.launch.slurm import (
    has_node,
    of_component,
    ranks_here,
    srun_line,
    tasks_on_node,
)
from tests.unit.environs import BATCH, HYDRA, OPEN_MPI, environ


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


@pytest.mark.parametrize(
    ("text", "ranks"), [("3,4,5", (3, 4, 5)), ("1,3", (1, 3)), ("", ()), ("x", ())]
)
def test_the_ranks_of_a_node_are_read_as_slurm_tells_them(
    text: str, ranks: tuple[int, ...]
) -> None:
    assert ranks_here({"SLURM_GTIDS": text}) == ranks
    assert ranks_here({}) == ()


# --- heterogeneous jobs -------------------------------------------------------


def test_the_line_for_a_job_of_components_starts_tasks_on_all_of_them() -> None:
    line = srun_line({**BATCH, "SLURM_HET_SIZE": "3"}, ["script.py"])
    assert line == "srun --het-group=0-2 dask-runner script.py"


@pytest.mark.parametrize(
    ("nodelist", "has", "has_not"),
    [
        ("c1", ["c1"], ["c", "c11", "d1", ""]),
        ("c[1-3,7]", ["c1", "c3", "c7"], ["c4", "c01", "c[1-3,7]"]),
        ("c[001-010]", ["c001", "c010"], ["c1", "c0001", "c011"]),
        ("c[8-11]", ["c8", "c11"], ["c08", "c12"]),
        ("c1,d[2-3],e4", ["c1", "d2", "e4"], ["d4", "c2"]),
        ("r[0-1]n[1-2]", ["r0n1", "r1n2"], ["r2n1", "r0n3"]),
        ("c.1", ["c.1"], ["cx1"]),
        ("", [], ["c1", ""]),
        ("c[a-b]", [], ["c1"]),
    ],
)
def test_a_list_of_nodes_as_slurm_writes_it_has_these(
    nodelist: str, has: list[str], has_not: list[str]
) -> None:
    assert all(has_node(nodelist, name) for name in has)
    assert not any(has_node(nodelist, name) for name in has_not)


@pytest.mark.parametrize(
    ("name", "cpus", "memory"),
    [
        ("slurm-het-components-rank0", "3", "1024"),
        ("slurm-het-components-rank2", None, "2048"),
        # srun sets no values of its components: none is better than the last one's.
        ("slurm-het-srun-rank0", None, None),
        ("slurm-het-srun-rank2", None, None),
    ],
)
def test_a_component_has_its_own_cpus_and_memory_and_not_the_last_ones(
    name: str, cpus: str | None, memory: str | None
) -> None:
    found = of_component(environ(name))
    assert found.get("SLURM_CPUS_PER_TASK") == cpus
    assert found.get("SLURM_MEM_PER_NODE") == memory


def test_a_job_without_components_keeps_its_variables() -> None:
    variables = environ("slurm-none-rank0")
    assert of_component(variables) == variables


@pytest.mark.parametrize("size", ["", "x", "0", "9" * 30, "1000000"])
def test_an_absurd_number_of_components_is_none(size: str) -> None:
    variables = {"SLURM_HET_SIZE": size, "SLURM_CPUS_PER_TASK": "4", "KEPT": "1"}
    assert of_component(variables) == {"SLURM_HET_SIZE": size, "KEPT": "1"}
