"""The dashboard of a job, through the tunnel that its start line names."""

import json
import re
import shlex

from tests.cluster.jobs import SIF, Jobs
from tests.programs import UNTIL_TOLD

HOLD = f"""\
import os, time
from distributed import Client
client = Client()
print(client.dashboard_link, flush=True)
{UNTIL_TOLD}
"""

#: A browser on the login node: fetches a page and its data, and opens its websocket.
BROWSER = """\
import asyncio, json, re, sys, time
from urllib.error import HTTPError, URLError
from urllib.request import urlopen
from bokeh.client import pull_session
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

link = sys.argv[1]
deadline = time.monotonic() + 60

def page():
    while True:
        try:
            return urlopen(link, timeout=30).read().decode()
        except (HTTPError, URLError) as error:
            # The tunnel is not up yet, or the page is still being loaded.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)

async def first_word(token):
    request = HTTPRequest(
        link.replace("http", "ws", 1) + "/ws",
        headers={"Origin": "http://127.0.0.1:8787"},
    )
    socket = await websocket_connect(request, subprotocols=["bokeh", token])
    return json.loads(await socket.read_message())["msgtype"]

text = page()
(token,) = set(re.findall(r'"token":"([^"]+)"', text))
print(json.dumps({
    "bokeh": "bokeh.min.js" in text,
    "said": asyncio.run(first_word(token)),
    "figures": len(pull_session(url=link).document.roots),
}))
"""


def test_ssh_and_a_browser_reach_it_from_the_login_node(jobs: Jobs) -> None:
    job = jobs.srun("-N2 --ntasks-per-node=1", jobs.write("hold.py", HOLD))
    job.wait_for("begun")
    said = re.search(
        r"dashboard: .*; or (\S+) after: (ssh -N -L .*)", job.running.stderr
    )
    assert said, job.running.stderr
    address, line = said.groups()
    assert job.running.stdout.splitlines()[0] == f"{address}#first: {line}"
    assert line.endswith(" user@c1")

    tunnel = jobs.cluster.start(shlex.split(line), cwd=jobs.directory)
    browser = [
        *("apptainer", "exec", SIF, "python"),
        *(jobs.write("browser.py", BROWSER), address),
    ]
    done = jobs.cluster.run(browser, cwd=jobs.directory, timeout=120)
    tunnel.signal(15)
    tunnel.wait()

    assert done.returncode == 0, done
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("figures") > 0
    assert found == {"bokeh": True, "said": "ACK"}
    jobs.write("go", "")
    assert job.wait(makes=("go", "browser.py")).returncode == 0
