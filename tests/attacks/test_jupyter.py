"""Another account on the node where the user's JupyterLab runs beside its cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.attacks.test_ports import OTHER, USER
from tests.cluster.conftest import jupyter_image  # noqa: F401  a fixture
from tests.cluster.jupyterlab import started
from tests.listening import KNOCK, SURVEY, arguments, places, told

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs

#: What ZeroMQ says to all who connect, before it knows what they want (ZMTP 3).
GREETING = r"b'\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"

#: Looks for what leads in: the token, the address with it, the keys of kernels.
READ = """
import glob, json, sys
private = sys.argv[1]
found = []
for path in ["token", "link", "jupyter_cookie_secret"]:
    try:
        found.append(open(private + "/" + path).read())
    except PermissionError:
        pass
for path in glob.glob("/proc/[0-9]*/*"):
    if path.endswith(("/cmdline", "/environ")):
        try:
            found.append(open(path, errors="replace").read())
        except OSError:
            pass
print(json.dumps([found, glob.glob(private + "/*")]))
"""


@pytest.mark.attack(
    "connects to every port and socket of JupyterLab and its kernels beside your "
    "cluster, and looks for its token in files, the list of processes and the job's "
    "output",
    "no token, and no answer but ZeroMQ's greeting, at the port where ipykernel takes "
    "by a secret what its own forks print; all else are sockets of yours alone",
)
def test_nothing_of_jupyterlab_answers_another_account(
    jobs: Jobs,
    jupyter_image: str,  # noqa: F811  pytest's way
) -> None:
    lab = started(jobs, jupyter_image)
    job, private, node = lab.job, lab.private, lab.node
    cluster = jobs.cluster

    def runs(user: str, code: str, *args: str) -> str:
        line = ["python3", "-c", code, *args]
        done = cluster.run(line, node=node, user=user, timeout=600)
        assert done.returncode == 0, done
        return done.stdout

    goals = places(runs("root", SURVEY, f"uid:{USER}"))
    own = [one for one in goals if one[2].startswith(private)]
    assert {one[2].rpartition("/")[2] for one in own} >= {"jupyter", "dashboard"}
    assert sum("-ipc-" in one[2] for one in own) >= 5
    # Of what listens at ports, one is not the cluster's, which test_ports tries.
    pipe = [one for one in goals if one[1] != "unix" and "python" in one[0]]
    assert [(kind, at) for _, kind, at, _ in pipe] == [("tcp", "127.0.0.1")], pipe

    result = told(runs("other", KNOCK, *arguments([*own, *pipe])))
    assert result.uid == OTHER
    assert [one for one in result.answers if tuple(one[:4]) not in pipe] == []
    assert all(one[5].startswith(GREETING) for one in result.answers), result.answers
    assert {tuple(one[:4]) for one in result.refused} >= set(own)
    texts, names = json.loads(runs("other", READ, private))
    assert names == []
    assert texts
    assert not any(lab.token in text for text in (*texts, job.output))
    # Where it is let in, the same words have answers.
    jupyter = [one for one in own if one[2].endswith("/jupyter")]
    assert told(runs("user", KNOCK, *arguments(jupyter))).answers

    name = f"jupyter-{job.number}"
    jobs.shell("apptainer", "run", jupyter_image, "stop", name)
    done = job.wait()
    assert done.returncode == 143, done
