"""The job of ``recipes/jupyter.sbatch``, as its user sees it without a browser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.cluster.jobs import told
from tests.conftest import ROOT

if TYPE_CHECKING:
    from tests.cluster.jobs import Batch, Jobs

RECIPE = ROOT / "recipes/jupyter.sbatch"

#: Starts a kernel, as JupyterLab in a browser does, and waits until it has its sockets.
KERNEL = """
import glob, http.client, json, socket, sys, time
private = sys.argv[1]
token = open(private + "/token").read()
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(private + "/jupyter")
connection.request("POST", "/api/kernels", "{}", {"Authorization": "token " + token})
answer = connection.getresponse()
assert answer.status == 201, answer.read()
deadline = time.monotonic() + 60
while len(glob.glob(private + "/kernel-*-ipc-*")) < 5:
    assert time.monotonic() < deadline
    time.sleep(0.1)
print(token)
"""


@dataclass(frozen=True)
class JupyterLab:
    """A JupyterLab beside its cluster, with a kernel.

    Attributes
    ----------
    job : Batch
    node : str
        Where rank 0 and JupyterLab run.
    private : str
        The directory of its sockets there.
    token : str
    """

    job: Batch
    node: str
    private: str
    token: str


def started(jobs: Jobs, image: str) -> JupyterLab:
    """Submit the recipe, and wait until JupyterLab has started a kernel."""
    jobs.write("jupyter.sbatch", RECIPE.read_text())
    job = jobs.batch("--cpus-per-task=2", "jupyter.sbatch", env={"IMAGE": image})
    job.wait_for("JupyterLab: ssh ")
    said = re.search(r":(\S+)/jupyter user@(\S+) tail", job.output)
    assert said
    private, node = said.groups()
    line = ["python3", "-c", KERNEL, private]
    done = jobs.cluster.run(line, node=node, user="user", timeout=120)
    assert done.returncode == 0, told(done)
    return JupyterLab(job, node, private, done.stdout.strip())
