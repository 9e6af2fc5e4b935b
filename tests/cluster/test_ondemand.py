"""The app of Open OnDemand, but for Open OnDemand itself: rendered, submitted, used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.cluster.jobs import told
from tests.cluster.ondemand import APP, FRAME, LOG_IN, form, rendered
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]


def test_jupyterlab_answers_at_the_address_and_with_the_password_of_the_view(
    jobs: Jobs, jupyter_image: str, engine: Any
) -> None:
    values = form() | {"image": jupyter_image, "bc_num_slots": 2}
    made = rendered(engine, **values)
    native = yaml.safe_load(made.pop("submit.yml"))["script"]["native"]
    assert native[0] == "--nodes=2"
    for name, text in {
        "job.sh": FRAME,
        **made,
        "after.sh": (APP / "template/after.sh").read_text(),
    }.items():
        jobs.write(name, text)
    jobs.shell("chmod", "755", "script.sh")

    job = jobs.batch(*native, "job.sh")
    until(
        lambda: jobs.shell("sh", "-c", "cat connection.yml 2>/dev/null; true"),
        300,
        lambda: job.output,
        every=0.5,
    )
    known = yaml.safe_load(jobs.shell("cat", "connection.yml"))
    view = rendered(engine, **known)["view.html"]
    base = f"/node/{known['host']}/{known['port']}"
    assert f'action="{base}/login?next={base}/lab"' in view
    assert f'value="{known["password"]}"' in view

    # Nobody else may read the password, on any node.
    for file in ("token", "connection.yml"):
        refused = jobs.cluster.run(f"cat {jobs.directory}/{file}", user="other")
        assert "Permission denied" in refused.stderr, told(refused)

    address = f"http://{known['host']}:{known['port']}{base}"
    name = f"ondemand-{job.number}"
    said = jobs.shell("python3", "-c", LOG_IN, address, known["password"], name)
    assert json.loads(said) == {
        "nobody": 403,
        "wrong": 401,
        "own": 200,
        "contents": 200,
        "dashboard": 200,
        "shutdown": 200,
    }
    assert known["password"] not in job.output
    job.wait(makes=("job.sh", *made, "after.sh", "token", "listens", "connection.yml"))


def test_a_port_that_somebody_else_has_gets_no_password(
    jobs: Jobs, jupyter_image: str, engine: Any
) -> None:
    made = rendered(engine, **form() | {"image": jupyter_image, "bc_num_slots": 1})
    # It listens where the job will look, before JupyterLab can.
    squatter = (
        'python3 -c \'import socket, sys; s = socket.socket(); s.bind(("", 0));'
        " s.listen(); print(s.getsockname()[1], flush=True); sys.stdin.read()'"
    )
    frame = FRAME.replace(
        "source before.sh",
        f"exec 3< <({squatter} < <(sleep 600)); read -r taken <&3\n"
        "find_port () { echo $taken; }\nsource before.sh",
    )
    files = {
        "job.sh": frame,
        **made,
        "after.sh": (APP / "template/after.sh").read_text(),
    }
    for name, text in files.items():
        jobs.write(name, text)
    jobs.shell("chmod", "755", "script.sh")

    job = jobs.batch("--nodes=1", "job.sh")
    job.wait_for("JupyterLab has ended before it listened")
    job.wait(makes=(*files, "token"))
    assert "connection.yml" not in jobs.shell("ls")
