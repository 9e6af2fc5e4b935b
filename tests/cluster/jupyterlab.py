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

#: Starts a kernel, as JupyterLab in a browser does, and waits until it answers.
KERNEL = """
import http.client, json, socket, sys
from jupyter_client import BlockingKernelClient
private = sys.argv[1]
token = open(private + "/token").read()
connection = http.client.HTTPConnection("localhost")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect(private + "/jupyter")
connection.request("POST", "/api/kernels", "{}", {"Authorization": "token " + token})
answer = connection.getresponse()
said = answer.read()
assert answer.status == 201, said
name = json.loads(said)["id"]
kernel = BlockingKernelClient(connection_file=f"{private}/kernel-{name}.json")
kernel.load_connection_file()
# Its heart is a thread, which an import holds up: a second without a beat is no death.
kernel.start_channels(hb=False)
kernel.kernel_info(reply=True, timeout=60)
kernel.stop_channels()
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
    line = ["apptainer", "exec", image, "python", "-c", KERNEL, private]
    done = jobs.cluster.run(line, node=node, user="user", timeout=120)
    assert done.returncode == 0, told(done)
    return JupyterLab(job, node, private, done.stdout.strip())
