"""The proxy's own pages."""

from __future__ import annotations

from dask_runner.errors import ConfigError
from dask_runner.proxy.html import REFUSED, Row, ended, failed, index, not_yet


def test_the_list_links_relative_to_where_it_is() -> None:
    page = index([Row("lab", "c1", "4 workers", answers=True)]).body

    assert 'href="lab/status"' in page
    assert "4 workers" in page
    assert "c1" in page


def test_a_cluster_that_does_not_answer_is_listed_without_a_link() -> None:
    page = index([Row("lab", "c1", "no answer", answers=False)]).body

    assert "lab" in page
    assert "href" not in page


def test_without_clusters_the_list_says_how_to_start_one() -> None:
    assert "dask-runner serve --name NAME" in index([]).body


def test_text_of_others_is_text() -> None:
    evil = "<script>\x1b[31m"
    row = Row(evil, evil, evil, answers=True)
    pages = [
        index([row]).body,
        failed(404, ConfigError(evil, evil, evil)).body,
        not_yet(evil).body,
    ]

    for page in pages:
        assert "<script" not in page
        assert "\x1b" not in page


def test_an_error_has_its_three_parts() -> None:
    page = failed(504, ConfigError("this", "that", "do it"))

    assert page.code == 504
    assert all(part in page.body for part in ("this", "needed: that", "you can: do it"))


def test_what_is_not_there_yet_is_looked_for_again() -> None:
    assert not_yet("x").code == 503
    assert not_yet("x").headers["Refresh"] == "2"


def test_who_may_not_pass_learns_nothing_of_what_is_here() -> None:
    assert REFUSED.code == 403
    assert "dask" not in REFUSED.body.lower()


def test_the_end_is_told() -> None:
    assert ended("lab").code == 410
    assert "lab has ended" in ended("lab").body
