"""``dask-runner dashboard`` on the login node, of a cluster on the nodes."""

import json
import re
import signal

import pytest

from tests.cluster.jobs import SIF, Jobs, told

#: A browser on the login node: opens the link, loads the page, and all that it names,
#: and opens its session. The other account has the link as well.
BROWSER = """\
import asyncio, json, os, re, sys, time
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

link = sys.argv[1]
base = link.partition("/status")[0]

async def main():
    client = AsyncHTTPClient(max_clients=50)

    async def get(url, headers={}):
        return await client.fetch(
            url, headers=headers, follow_redirects=False, raise_error=False
        )

    entered = await get(link)
    found = {"entered": entered.code}
    if entered.code == 302:
        cookie = {"Cookie": entered.headers["Set-Cookie"].partition(";")[0]}
        deadline = time.monotonic() + 60
        while (page := await get(base + "/status", cookie)).code != 200:
            assert time.monotonic() < deadline, page.body
            await asyncio.sleep(0.2)
        text = page.body.decode()
        names = set(re.findall(r'"(static/[^"]+)"', text))
        began = time.monotonic()
        files = await asyncio.gather(*(get(f"{base}/{one}", cookie) for one in names))
        found["files"] = sorted({one.code for one in files})
        found["seconds"] = time.monotonic() - began
        found["bytes"] = sum(len(one.body) for one in files)
        (token,) = set(re.findall(r'"token":"([^"]+)"', text))
        request = HTTPRequest(
            base.replace("http", "ws", 1) + "/status/ws",
            headers={**cookie, "Origin": base},
        )
        words = await websocket_connect(request, subprotocols=["bokeh", token])
        found["said"] = json.loads(await words.read_message())["msgtype"]
        found["workers"] = (await get(base + "/json/counts.json", cookie)).body.decode()
    print(json.dumps(found))

asyncio.run(main())
"""


def test_a_browser_on_the_login_node_sees_a_cluster_on_the_nodes(jobs: Jobs) -> None:
    served = jobs.srun("-N2 --ntasks-per-node=1", "serve", "--name", "lab")
    served.wait_for(" user@c")
    assert "dask-runner dashboard lab; or " in served.running.stderr
    line = ["apptainer", "run", SIF, "dashboard"]
    shown = jobs.cluster.start(line, cwd=jobs.directory, timeout=120)
    shown.wait_for("Ctrl-C ends this", 60)
    shown.wait_for("token=", 60)
    link = shown.stdout.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/status\?token=[\w-]+", link)
    browser = jobs.write("browser.py", BROWSER)

    def looks(user: str, *line: str) -> dict[str, object]:
        done = jobs.cluster.run([*line, link], user=user, cwd="/", timeout=120)
        assert done.returncode == 0, told(done)
        found = json.loads(done.stdout.splitlines()[-1])
        assert isinstance(found, dict)
        return found

    mine = looks("user", "apptainer", "exec", SIF, "python", browser)
    assert mine["entered"] == 302
    assert mine["files"] == [200]
    assert mine["said"] == "ACK"
    assert json.loads(str(mine["workers"]))["workers"] == 2
    assert looks("other", "python3", "-c", STOLEN) == {"entered": 403}

    # From a machine without the home directory's cluster, through the login node.
    port = re.sub(r".*:(\d+)/.*", r"\1", link)
    forward = ["ssh", "-N", "-L", f"9787:127.0.0.1:{port}", "login"]
    tunnel = jobs.cluster.start(forward, node="c2", timeout=120)
    through = [*("apptainer", "exec", SIF, "python", browser)]
    through.append(link.replace(f":{port}/", ":9787/"))
    done = jobs.cluster.run(["sh", "-c", WHEN_OPEN, "sh", *through], node="c2", cwd="/")
    tunnel.signal(signal.SIGTERM)
    tunnel.wait()
    assert done.returncode == 0, told(done)
    assert json.loads(done.stdout.splitlines()[-1])["said"] == "ACK"

    shown.signal(signal.SIGINT)
    assert shown.wait().returncode == 0, told(shown.wait())
    stop = ["apptainer", "run", SIF, "stop", "lab"]
    assert jobs.cluster.run(stop, timeout=60).returncode == 0
    assert served.wait(makes=("browser.py",)).returncode == 0


#: Runs a command when the tunnel is there.
WHEN_OPEN = """\
i=0
until bash -c "exec 3<>/dev/tcp/127.0.0.1/9787" 2>/dev/null; do
    i=$((i + 1))
    test $i -lt 300 || exit 1
    sleep 0.1
done
exec "$@"
"""

#: Another account, which has seen the link.
STOLEN = """\
import json, sys
from urllib.error import HTTPError
from urllib.request import urlopen
try:
    print(json.dumps({"entered": urlopen(sys.argv[1]).status}))
except HTTPError as error:
    print(json.dumps({"entered": error.code}))
"""


def test_it_ends_with_the_cluster(jobs: Jobs) -> None:
    served = jobs.srun("-N2 --ntasks-per-node=1", "serve", "--name", "lab")
    served.wait_for(" user@c")
    line = ["apptainer", "run", SIF, "dashboard", "lab"]
    stopped = jobs.cluster.start(line, cwd=jobs.directory, timeout=120)
    stopped.wait_for("token=", 60)
    stop = ["apptainer", "run", SIF, "stop", "lab"]
    assert jobs.cluster.run(stop, timeout=60).returncode == 0
    ended = stopped.wait()
    assert ended.returncode == 0, told(ended)
    assert "the cluster lab has ended" in ended.stderr
    assert served.wait().returncode == 0


@pytest.mark.heavy
def test_it_ends_when_the_node_of_rank_0_dies(jobs: Jobs) -> None:
    served = jobs.srun("-N2 --ntasks-per-node=1", "serve", "--name", "lab")
    served.wait_for(" user@c")
    node = re.search(r" user@(\w+)", served.running.stderr)
    assert node, served.running.stderr
    line = ["apptainer", "run", SIF, "dashboard", "lab"]
    shown = jobs.cluster.start(line, cwd=jobs.directory, timeout=120)
    shown.wait_for("token=", 60)
    jobs.cluster.node(node[1]).cut()
    try:
        ended = shown.wait()
        assert ended.returncode == 69, told(ended)
        assert "the cluster 'lab' is lost" in ended.stderr
    finally:
        jobs.cluster.node(node[1]).restore()
