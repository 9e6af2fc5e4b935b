"""Which page a path means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dask_runner.proxy.paths import Index, Moved, Page, of_all, of_one

THERE = frozenset({"lab", "2.x"})


def of(target: str) -> Page | Moved | Index:
    return of_all(target, THERE.__contains__)


def test_of_one_cluster_the_first_page_is_its_status() -> None:
    assert of_one("/") == Moved("status")
    assert of_one("/?x") == Moved("status")
    assert of_one("/lab/status?x=1") == Page(None, "/lab/status?x=1")


def test_of_all_clusters_each_has_its_name_before_its_pages() -> None:
    assert of("/lab/status") == Page("lab", "/status", "/lab")
    assert of("/2.x/static/js/bokeh.min.js?v=1") == Page(
        "2.x", "/static/js/bokeh.min.js?v=1", "/2.x"
    )


def test_the_first_page_of_each_is_found_below_any_prefix() -> None:
    # A browser at /user/me/dask-runner/lab resolves them so.
    assert of("/lab") == Moved("lab/status")
    assert of("/lab/") == Moved("status")
    assert of("/lab?x=1") == Moved("lab/status")


def test_pages_without_a_name_are_those_of_the_only_cluster() -> None:
    assert of("/status") == Page(None, "/status")
    assert of("/static/js/bokeh.min.js") == Page(None, "/static/js/bokeh.min.js")
    assert of("/nobody/status") == Page(None, "/nobody/status")


def test_the_list_is_at_the_beginning() -> None:
    assert of("/") == Index()
    assert of("/?token=x") == Index()


@given(st.text(min_size=1).map(lambda text: f"/{text}"))
def test_only_what_can_be_a_name_is_looked_up(target: str) -> None:
    def is_one(name: str) -> bool:
        assert "/" not in name
        assert name[0] not in "._-"
        return True

    of_all(target, is_one)
