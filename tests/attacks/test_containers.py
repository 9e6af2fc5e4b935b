"""Another account in a container on the network of a cluster in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.attacks.test_ports import ANYWHERE
from tests.images.conftest import contained  # noqa: F401  a fixture
from tests.images.test_image_serve import SERVE, ended, machine  # noqa: F401  one too
from tests.listening import KNOCK, SURVEY, arguments, places, told

if TYPE_CHECKING:
    from tests.images.test_image_serve import Machine

OTHER = 12346


@pytest.mark.attack(
    "runs a container on the Docker network of your cluster (`--interface eth0`), with "
    "your home directory in it, and connects to every port",
    "no answer without the keys, and no record that it can read; nothing listens on "
    "all addresses",
)
def test_nothing_answers_another_account_in_another_container(
    machine: Machine,  # noqa: F811  pytest's way
) -> None:
    serving = machine.start(*SERVE)
    asked = serving.exec_run(["python", "-c", SURVEY, "uid:0"])
    goals = [one for one in places(asked.output.decode()) if one[1] != "unix"]
    assert any(name == "dask-scheduler" for name, *_ in goals), goals
    assert {at for _, _, at, _ in goals}.isdisjoint({ANYWHERE, "::"})
    reached = [one for one in goals if not one[2].startswith("127.")]

    theirs = {"user": f"{OTHER}:{OTHER}"}
    tried = machine.run("-c", KNOCK, *arguments(reached), entrypoint="python", **theirs)
    assert tried.status == 0, tried
    result = told(tried.stdout)
    assert (result.uid, result.answers, result.refused) == (OTHER, [], [])
    for verb in (["list"], ["stop", "lab"]):
        refused = machine.run(*verb, **theirs)
        assert refused.status == 78, refused
        assert "cannot be read" in refused.stderr

    assert machine.run("stop", "lab").status == 0
    assert ended(serving) == 0
