"""The page of metrics: what several processes tell, as one."""

from __future__ import annotations

import pytest
from distributed.http.utils import get_handlers
from prometheus_client import generate_latest

from dask_runner.programs import metrics


def test_samples_of_a_family_stand_together_with_their_workers_labels() -> None:
    told = metrics.Told()
    told.add([("x", "What.", "gauge", [("x", {"type": "a"}, 1.0)])], node="c1")
    told.add(
        [("x", "What.", "gauge", [("x", {"type": "a"}, 2.0)])], node="c2", worker="1"
    )

    assert generate_latest(told).decode().splitlines() == [
        "# HELP x What.",
        "# TYPE x gauge",
        'x{node="c1",type="a"} 1.0',
        'x{node="c2",type="a",worker="1"} 2.0',
    ]


def test_a_label_of_the_users_with_the_name_of_ours_is_kept_under_another() -> None:
    told = metrics.Told()
    told.add([("x", "", "counter", [("x_total", {"node": "mine"}, 1.0)])], node="c1")

    assert (
        'x_total{exported_node="mine",node="c1"} 1.0' in generate_latest(told).decode()
    )


@pytest.mark.parametrize(
    ("header", "seconds"), [({}, 5.0), ("2", 1.4), ("60", 5.0), ("soon", 5.0)]
)
def test_workers_are_waited_for_no_longer_than_prometheus_waits(
    header: str, seconds: float
) -> None:
    headers = {"X-Prometheus-Scrape-Timeout-Seconds": header} if header else {}

    assert metrics.patience(headers) == pytest.approx(seconds)


def test_the_page_is_where_dasks_is() -> None:
    for prefix, path in (("/", "/metrics"), ("/x", "/x/metrics")):
        assert get_handlers(None, [metrics.__name__], prefix)[0][0] == path
