"""JupyterLab and a cluster, as a user sees them in a browser.

The screenshots of the documents are made here: ``SCREENSHOTS=docs/images``.
"""

from __future__ import annotations

import os
import re
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from tests.cluster.jobs import SIF
from tests.cluster.lab import CLUSTER, Lab
from tests.conftest import ROOT

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs
    from tests.cluster.laptop import Laptop

RECIPE = ROOT / "recipes/jupyter.sbatch"
LINE = re.compile(r"JupyterLab: (ssh .*)")
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS") or ROOT / "build/screenshots")

#: What a notebook leaves beside itself.
MADE = ("Untitled.ipynb", ".ipynb_checkpoints")

CONNECT = """\
from dask.distributed import Client
client = Client()
client
"""
#: Half a minute of work: time to look at it.
WORK = """\
import time
futures = client.map(lambda n: time.sleep(0.1), range(1000))
"""
BY_NAME = """\
from dask.distributed import Client
from dask_runner import Cluster
client = Client(Cluster.from_name("lab"))
futures = client.map(pow, range(500), range(500))
print("said", client.submit(sum, [1, 2]).result(), client.dashboard_link)
"""
#: Scales by the widget that a notebook shows of a cluster.
WIDGET = """\
import time
from dask_runner import Cluster
cluster = Cluster.from_name("lab")

def all_of(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from all_of(child)

shown = {getattr(one, "description", ""): one for one in all_of(cluster._widget())}
shown["Workers"].value = 1
shown["Scale"].click()
latest = time.monotonic() + 60
while len(cluster.scheduler_info["workers"]) != 1:
    assert time.monotonic() < latest
    time.sleep(0.05)
print("scaled")
"""
#: The lines of the documents, for the side bar.
CONFIG = """\
labextension:
  factory: {module: dask_runner, class: Cluster}
"""

#: A pixel of a task, and not of the frame or the text: it has a colour.
COLOURED = 60
#: And so many of them are no icon.
A_TENTH = 0.1


def colour(png: bytes) -> float:
    """Return which part of a picture has a colour."""
    pixels = np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)
    return float((np.ptp(pixels, axis=2) > COLOURED).mean())


def keep(name: str, png: bytes) -> None:
    """Write a screenshot, in few colours: it is for a document."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    small = Image.open(BytesIO(png)).convert("RGB").quantize(64)
    small.save(SCREENSHOTS / f"{name}.png", optimize=True)


def test_a_recipe_runs_jupyterlab_beside_its_cluster_and_one_ssh_line_leads_there(
    jobs: Jobs, jupyter_image: str, laptop: Laptop
) -> None:
    jobs.write("jupyter.sbatch", RECIPE.read_text())
    settings = {"IMAGE": jupyter_image}
    job = jobs.batch("--cpus-per-task=2", "jupyter.sbatch", env=settings)
    job.wait_for("JupyterLab: ssh ")
    name = f"jupyter-{job.number}"
    line = LINE.search(job.output)
    assert line
    tunnel = laptop.ssh(line[1])
    tunnel.wait_for("/lab?token=", timeout=60)
    address = tunnel.stdout.strip()
    token = address.partition("token=")[2]

    with laptop.browser() as driver:
        lab = Lab(driver, address)
        lab.notebook()
        lab.run(CONNECT)
        dashboard = f"/proxy/dask-runner/{name}/status"
        assert dashboard in {urlsplit(link).path for link in lab.links()}
        lab.run(WORK)

        # The cluster is in the side bar, and its panes draw what it does.
        (listed,) = lab.clusters()
        assert listed.splitlines()[0] == name
        assert f"Dashboard URL: {dashboard}" in listed
        lab.click(CLUSTER)
        lab.pane("Task Stream")
        first = lab.until(lab.shown)
        assert lab.until(lambda: lab.shown() > first)
        lab.back()
        assert lab.until(lambda: colour(lab.picture("task-stream")) > A_TENTH)
        keep("jupyterlab", driver.get_screenshot_as_png())

        lab.shut_down()
    # What the line has started on the node is the user's, and ends with it.
    tunnel.wait()
    done = job.wait(makes=MADE)
    assert done.returncode == 0, done
    assert token not in done.stderr


def test_a_jupyterlab_elsewhere_attaches_to_a_cluster_by_its_name(
    jobs: Jobs, jupyter_image: str, laptop: Laptop
) -> None:
    """With a prefix, as JupyterHub and Open OnDemand give it to each user's."""
    job = jobs.srun("-N2 --ntasks-per-node=1", "serve", "--name", "lab")
    job.wait_for("ready after")
    server = jobs.start(
        *("apptainer", "exec", jupyter_image, "jupyter", "lab", "--no-browser"),
        *("--port=8888", "--IdentityProvider.token=only-here"),
        *("--ServerApp.base_url=/user/me/", f"--ServerApp.root_dir={jobs.directory}"),
        env={"DASK_CONFIG": jobs.write("dask.yaml", CONFIG)},
    )
    server.wait_for("/user/me/lab?token=")
    forward = "ssh -L 8888:127.0.0.1:8888 user@login"
    tunnel = laptop.ssh(f"{forward} 'while echo up; do sleep 1; done'")
    tunnel.wait_for("up", timeout=60)
    hub = "http://127.0.0.1:8888/user/me"

    with laptop.browser() as driver:
        lab = Lab(driver, f"{hub}/lab?token=only-here")
        lab.notebook()
        lab.run(BY_NAME)
        dashboard = "/user/me/proxy/dask-runner/lab/status"
        assert f"said 3 {dashboard}" in lab.output("said")

        # NEW attaches, SHUTDOWN detaches.
        assert lab.new_cluster().splitlines()[2] == f"Dashboard URL: {dashboard}"
        lab.click(CLUSTER)
        lab.pane("Workers")
        assert lab.until(lab.shown)
        lab.back()
        lab.close_cluster()

        driver.get(f"{hub}/proxy/dask-runner/")
        lab.click("a", "lab")
        lab.until(lambda: lab.all(".bk-Figure"))
        assert urlsplit(driver.current_url).path == dashboard

    tunnel.signal(15)
    tunnel.wait()
    server.signal(15)
    assert server.running.wait().returncode == 0
    ended = jobs.shell("apptainer", "run", SIF, "stop", "lab")
    # jupyter-server-proxy leaves the directory of its socket.
    done = job.wait(makes=MADE, leaves="/tmp/jupyter-server-proxy-")
    assert done.returncode == 0, ended


def test_the_widget_of_a_cluster_scales_it(jobs: Jobs, jupyter_image: str) -> None:
    job = jobs.srun("-N2 --ntasks-per-node=1", "serve", "--name", "lab")
    job.wait_for("ready after")
    script = jobs.write("widget.py", WIDGET)
    done = jobs.start("apptainer", "exec", jupyter_image, "python", script)
    ended = done.running.wait()
    assert (ended.returncode, ended.stdout) == (0, "scaled\n"), ended
    jobs.shell("apptainer", "run", SIF, "stop", "lab")
    assert job.wait().returncode == 0
