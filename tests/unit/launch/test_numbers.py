"""Numbers in variables: whatever they say, no traceback and no absurd message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dask.utils import parse_bytes
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.cli.info import collect
from dask_runner.errors import ConfigError, RunnerError
from dask_runner.launch import walltime
from dask_runner.launch.detect import LAUNCHERS, explain
from dask_runner.launch.numbers import (
    parse_digits,
    parse_digits_or_none,
    parse_size,
    quoted,
)
from dask_runner.launch.options import BY_KEY
from dask_runner.launch.own_variables import NTASKS_VARIABLE
from dask_runner.meeting.pmi_client import SilentError, wire
from dask_runner.mpi import lost_launcher
from dask_runner.mpi.surroundings import Surroundings
from dask_runner.mpi.world import descriptors
from dask_runner.programs import openblas
from dask_runner.resources.from_variables import given_cpus
from dask_runner.resources.rank_share import rank_share
from tests.unit.machines import given as machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.launch.detect import Launcher

#: Longer than Python reads (sys.get_int_max_str_digits).
ENDLESS = "9" * 5000

#: Characters of a message that a person still reads.
READABLE = 1500

ABSURD = st.one_of(
    st.sampled_from(
        ("", "0", "-1", "+4", " 4", "4 ", "1_0", "4.5", "1e9", "inf", "nan", "0x10")
    ),
    st.sampled_from(("²", "٣", "1\n", "99999999999999999999", "1" + "0" * 21)),
    st.integers().map(str),
    st.integers(1, 6000).map(lambda length: "9" * length),
    st.integers(1, 6000).map(lambda length: "0x" + "f" * length),
    st.text("0123456789-+_.eEx²٣()x,", max_size=40),
)

#: Of the machine: what is wrong is ignored with a note.
SHARES = (
    "NCPUS",
    "SLURM_CPUS_ON_NODE",
    "SLURM_CPUS_PER_TASK",
    "SLURM_GPUS_ON_NODE",
    "SLURM_MEM_PER_CPU",
    "SLURM_MEM_PER_GPU",
    "SLURM_MEM_PER_NODE",
)

OPTIONS = ("NRANKS", "NTHREADS", "TIMEOUT", "GRACE", "STOP_BEFORE")


@given(st.sampled_from(SHARES), ABSURD, st.integers(1, 300))
def test_a_share_of_absurd_numbers_is_a_share_and_a_note(
    name: str, value: str, local_size: int
) -> None:
    environ = {"PBS_JOBID": "1", "CUDA_VISIBLE_DEVICES": "0,1", name: value}
    share = rank_share(machine(**environ), local_size, local_size - 1)
    assert 1 <= share.cpus.value <= 64
    assert 1 <= share.memory.value <= 64 << 30
    assert all(len(warning) < READABLE for warning in share.warnings)


def refusal(play: Callable[[], object]) -> RunnerError | None:
    """Return what it is refused with; anything else that it raises is a failure."""
    try:
        play()
    except RunnerError as error:
        return error
    return None


@given(st.sampled_from(LAUNCHERS), st.data())
def test_a_launchers_absurd_numbers_are_refused_with_a_word(
    row: Launcher, data: st.DataObject
) -> None:
    names = [
        *(*row.marks, *row.rank, *row.size, *row.local_rank, *row.local_size),
        *("SLURM_NODEID", "SLURM_STEP_TASKS_PER_NODE", "SLURM_NNODES"),
    ]
    absurd = data.draw(st.dictionaries(st.sampled_from(names), ABSURD))
    error = refusal(lambda: explain(dict.fromkeys(names, "1") | absurd))
    if error is not None:
        assert error.status in {2, 78}
        assert error.do
        assert len(str(error)) < READABLE


@given(st.sampled_from(OPTIONS), ABSURD)
def test_an_options_absurd_number_is_refused_by_name(name: str, value: str) -> None:
    environ = {f"DASK_RUNNER__{name}": value, "HOME": "/nowhere"}
    error = refusal(lambda: collect(environ, "none"))
    if error is not None:
        assert f"DASK_RUNNER__{name}" in error.saw
        assert len(str(error)) < READABLE


@given(st.sampled_from(openblas.VARIABLES), ABSURD)
def test_openblas_has_a_number_of_threads_whatever_is_asked_for(
    name: str, value: str
) -> None:
    assert 1 <= openblas.wanted({name: value}, 8) <= 8


@given(ABSURD)
def test_numbers_that_are_seldom_read_are_read_alike(value: str) -> None:
    walltime.end_time({"SLURM_JOB_END_TIME": value})
    descriptors({"PMI_FD": value, "PMI_PORT": value})
    with pytest.raises(SilentError):
        wire({"PMI_FD": value})
    port = wire_port(value)
    assert port is None or 0 < port < 1 << 16


def wire_port(value: str) -> int | None:
    try:
        address = wire({"PMI_PORT": f"host:{value}", "PMI_ID": "0"}).address
    except SilentError:
        return None
    assert address is not None
    return address[1]


def test_a_hint_of_no_number_is_refused_and_of_one_task_is_none() -> None:
    nothing = Surroundings()
    for text in (ENDLESS, "many", "-3"):
        with pytest.raises(ConfigError, match=NTASKS_VARIABLE):
            lost_launcher.refuse({NTASKS_VARIABLE: text}, nothing)
    for text in ("", "1"):
        lost_launcher.refuse({NTASKS_VARIABLE: text}, nothing)


def test_digits_are_bounded_and_ascii() -> None:
    assert (
        parse_digits(str(2**64 - 1))
        == parse_digits_or_none(str(2**64 - 1))
        == 2**64 - 1
    )
    for text in ("", "٣", "-1", "1_0", " 1", ENDLESS):
        assert parse_digits_or_none(text) is None
        with pytest.raises(ValueError, match="no number"):
            parse_digits(text)


def test_a_long_value_is_cut_in_a_message() -> None:
    assert quoted("4") == "'4'"
    assert len(quoted(ENDLESS)) < 80
    assert quoted(10**5000) == "an endless number"


def test_pbs_may_say_more_cpus_than_there_can_be() -> None:
    here = machine(PBS_JOBID="1", NCPUS="9" * 20)
    assert dict(map(reversed, given_cpus(here, 1, 0, [])))  # type: ignore[arg-type]


def test_every_option_that_is_fuzzed_is_one() -> None:
    assert {name.lower() for name in OPTIONS} <= BY_KEY.keys()


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "100",
        "100MB",
        "100M",
        "5kB",
        "5.4kB",
        "1kiB",
        "1e6",
        "1e6kB",
        "MB",
        "4GiB",
        "4gib",
        "2Ki",
        "3Pb",
        ".5TiB",
        "7B",
    ],
)
def test_sizes_are_read_as_dask_reads_them(text: str) -> None:
    assert int(parse_size(text)) == parse_bytes(text)


@pytest.mark.parametrize("text", ["5 foos", "", "GiB GiB", "1.2.3 GB", "--1", "nan"])
def test_sizes_that_dask_refuses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a number of bytes|could not convert"):
        parse_size(text)
