"""The table of clusters, for people and for programs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from dask_runner.attach.clusters import Look
from dask_runner.cli.list import as_json, table
from dask_runner.meeting.cluster_directory import Entry
from tests.unit.records import NAMED, STATE

PATH = Path("/home/u/.dask-runner/cluster-lab.json")


def cells(look: Look) -> list[str]:
    row = table([look]).splitlines()[1]
    return [cell.strip() for cell in row.split("  ") if cell.strip()]


def test_a_cluster_that_answers_has_a_row() -> None:
    look = Look(Entry("lab", PATH, NAMED), replace(STATE, ends_at=time.time() + 3661))
    assert cells(look) == [
        *("lab", "4711", "slurm", "c1", "4", "2", "2 h", "1 min 1 s", "in 1 h 1 min")
    ]


def test_what_is_not_known_is_a_dash() -> None:
    look = Look(Entry("lab", PATH, NAMED), replace(STATE, clients=-1, idle=-1.0))
    assert cells(look)[-4:] == ["-", "2 h", "-", "-"]


def test_a_cluster_that_is_not_ready_starts() -> None:
    look = Look(Entry("lab", PATH, NAMED), replace(STATE, ready=False))
    assert cells(look)[-2] == "starting"


def test_a_cluster_that_does_not_answer_is_told_below_the_table() -> None:
    look = Look(Entry("lab", PATH, NAMED), None, "no answer: nothing listens there", 70)
    assert table([look]).splitlines()[-1] == (
        "lab: no answer: nothing listens there (last sign of life 1 min 10 s ago)"
    )
    assert as_json([look])["clusters"][0]["answers"] is False


def test_a_file_that_cannot_be_believed_is_told_with_its_path() -> None:
    look = Look(Entry("lab", PATH, None, "x"), trouble=f"{PATH} is half-written")
    assert table([look]).splitlines()[-1] == f"lab: {PATH} is half-written"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    evil = replace(NAMED, job_id="\x1b[2J")
    assert "\x1b" not in table([Look(Entry("lab", PATH, evil), STATE)])


def test_programs_get_all_that_is_known() -> None:
    (plain,) = as_json([Look(Entry("lab", PATH, NAMED), STATE)])["clusters"]
    assert plain["name"] == "lab"
    assert plain["answers"] is True
    assert (plain["nthreads"], plain["clients"]) == (8, 2)
    assert plain["distributed"] == "2026.8.0"
    assert "private_key" not in str(plain)


def test_no_clusters_are_a_sentence_and_not_an_empty_table() -> None:
    assert table([]) == "no clusters"
