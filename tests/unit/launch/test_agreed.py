"""What ranks of a launch may be told each for itself, and what has to be alike."""

from __future__ import annotations

from typing import Any

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.agreed import in_rank_0, refuse_others, told
from dask_runner.launch.launch import Launch, Program
from dask_runner.launch.options import ALL, EACH, FIRST, OPTIONS
from dask_runner.launch.plan import make_plan
from dask_runner.launch.settings import Setting, settle
from tests.unit.launch.test_settings import OTHER
from tests.unit.records import world

SCRIPT = Program("script", "pi.py", ("a",))


def launch(
    program: Program | None = SCRIPT,
    configured: dict[str, Setting] | None = None,
    **given: Any,
) -> Launch:
    settings = settle(given, configured or {})
    plan = make_plan(4, settings.layout, serves=program is None)
    return Launch(world(), plan, settings, {}, program)


def differ(theirs: Launch, own: Launch) -> ConfigError | None:
    try:
        refuse_others("c2", told(theirs), in_rank_0(own))
    except ConfigError as error:
        return error
    return None


def test_ranks_that_were_told_alike_agree() -> None:
    assert differ(launch(timeout=99.0), launch(timeout=99.0)) is None


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_of_one_rank_alone_is_refused_unless_it_is_about_that_rank(
    option: Any,
) -> None:
    value = OTHER[option.key][0]
    error = differ(launch(**{option.key: value}), launch())
    if option.ranks == EACH:
        assert error is None
        return
    assert error is not None
    assert error.saw.startswith(f"c2 has --{option.name} ")
    assert error.status == 78


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_of_rank_0_alone_counts_for_all_unless_all_need_it(
    option: Any,
) -> None:
    error = differ(launch(), launch(**{option.key: OTHER[option.key][0]}))
    assert (error is not None) == (option.ranks == ALL)


def test_the_refusal_shows_both_values_and_what_may_differ() -> None:
    error = differ(launch(layout="dedicated"), launch())
    assert error is not None
    assert error.saw == "c2 has --layout dedicated, and rank 0 has shared"
    assert "--resources" in error.needed
    assert "--timeout" not in error.needed


def test_what_a_file_of_one_node_says_of_rank_0s_options_is_no_difference() -> None:
    file = {"timeout": Setting(5, "Dask's configuration, runner.timeout")}
    assert differ(launch(configured=file), launch()) is None


@pytest.mark.parametrize(
    ("theirs", "own"),
    [
        (Program("script", "other.py"), SCRIPT),
        (Program("module", "pi.py"), SCRIPT),
        (None, SCRIPT),
        (SCRIPT, None),
    ],
)
def test_ranks_with_other_programs_are_refused(
    theirs: Program | None, own: Program | None
) -> None:
    error = differ(launch(theirs), launch(own))
    assert error is not None
    assert error.saw.startswith("c2 is to run ")


@pytest.mark.parametrize(
    ("theirs", "own"),
    [
        (Program("script", "pi.py", ("b",)), SCRIPT),
        (Program("code", "print(1)"), Program("code", "print(0)")),
        (Program("script", "/dev/fd/62"), Program("script", "/dev/fd/63")),
    ],
    ids=["arguments", "code", "pipes"],
)
def test_a_rank_may_have_its_own_number_in_what_runs_elsewhere(
    theirs: Program, own: Program
) -> None:
    assert differ(launch(theirs), launch(own)) is None


def test_a_rank_of_a_hub_that_compares_nothing_is_not_refused() -> None:
    refuse_others("c2", told(launch()), {})


def test_each_option_says_whose_value_counts() -> None:
    assert {option.ranks for option in OPTIONS} == {FIRST, EACH, ALL}
