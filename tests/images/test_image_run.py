"""``docker run dask-runner:openmpi``: a program on a cluster in a container."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HOSTILE
from tests.waiting import until

SCRIPT = """\
import sys
from dask.distributed import Client
client = Client()
client.wait_for_workers(2, timeout=60)
print(sum(client.gather(client.map(lambda n: n * n, range(10)))), sys.argv)
"""

PEOPLE: dict[str, dict[str, Any]] = {
    "the image's own user": {},
    "root": {"user": "0:0"},
    "a user that the image does not know": {"user": "12345:12345"},
    "nobody, read-only": {"user": "65534:65534", "read_only": True},
    "root, read-only": {"user": "0:0", "read_only": True},
    "a user with a home that is not there": {
        "user": "12345:12345",
        "environment": {"HOME": "/nonexistent"},
    },
    "a user with a home of their own": {
        "user": "12345:12345",
        "tmpfs": {"/home/someone": "uid=12345,gid=12345"},
        "environment": {"HOME": "/home/someone"},
        "read_only": True,
    },
}


@pytest.mark.system("Docker", "main job")
@pytest.mark.parametrize("options", PEOPLE.values(), ids=PEOPLE.keys())
def test_anyone_runs_a_script_on_a_local_cluster(
    contained: Any, tmp_path: Path, options: dict[str, Any]
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = contained.run("-n", "2", "script.py", "a", "b", **options)
    assert (ended.status, ended.stdout) == (0, "285 ['script.py', 'a', 'b']\n"), ended
    assert ended.foreign == []


def test_a_command_connects_and_knows_the_dashboard(contained: Any) -> None:
    # Debian's sitecustomize and the image's order of the path are in the way.
    code = (
        "from distributed import Client, get_worker; client = Client();"
        "print(client.submit(lambda: get_worker().name).result(),"
        "client.dashboard_link.startswith('unix:'))"
    )
    ended = contained.run("-n", "1", "--", "sh", "-c", 'python -c "$0"', code)
    assert (ended.status, ended.stdout) == (0, "0 True\n"), ended
    assert ended.foreign == []


def test_arguments_arrive_as_they_were_typed(contained: Any) -> None:
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    ended = contained.run("-n", "1", "-c", code, *HOSTILE.values(), "")
    assert json.loads(ended.stdout) == [*HOSTILE.values(), ""], ended


def test_the_scripts_status_is_the_containers(contained: Any) -> None:
    ended = contained.run("-n", "1", "-c", "raise SystemExit(7)")
    assert (ended.status, ended.foreign) == (7, [])


def test_a_script_that_is_missing_is_named(contained: Any) -> None:
    ended = contained.run("-n", "1", "missing.py")
    assert ended.status in {2, 78}
    assert "missing.py" in ended.stderr
    assert ended.foreign == []


def test_docker_stop_ends_the_cluster_in_time(contained: Any) -> None:
    container = contained.start(
        "-n", "2", "-c", "import time; print('started', flush=True); time.sleep(600)"
    )
    until(
        lambda: b"started" in container.logs(stderr=False),
        context=lambda: container.logs().decode(),
    )
    began = time.monotonic()
    container.stop(timeout=30)
    assert time.monotonic() - began < 10
    assert container.wait()["StatusCode"] == 143, container.logs().decode()


def test_the_dashboard_serves_its_pages_and_scripts(contained: Any) -> None:
    code = """
import re, time, urllib.request as web
from urllib.error import HTTPError
from urllib.parse import urljoin
from dask.distributed import Client
client = Client()
link = client.dashboard_link
assert link == "http://127.0.0.1:8787/status", link

def fetch(deadline):
    # It is loaded when the cluster is complete, beside the script.
    while True:
        try:
            return web.urlopen(link, timeout=30).read().decode()
        except HTTPError:
            assert time.monotonic() < deadline
            time.sleep(0.1)

page = fetch(time.monotonic() + 30)
scripts = re.findall(r'src="([^"]+[.]js[^"]*)"', page)
assert scripts, page
for script in scripts:
    assert len(web.urlopen(urljoin(link, script), timeout=30).read()) > 1000
print("served", *(script.split("/")[-1].split("?")[0] for script in scripts))
"""
    address = "127.0.0.1:8787"
    ended = contained.run("-n", "1", "--dashboard-address", address, "-c", code)
    assert "served bokeh.min.js" in ended.stdout, ended


WRITES = """\
for name in ("mine/out", "theirs/out"):
    with open(name, "w") as file:
        file.write("x")
"""


def test_the_images_user_is_not_root_and_is_told_whose_a_directory_is(
    contained: Any, tmp_path: Path
) -> None:
    volumes = {}
    for name, owner in (("mine", 1000), ("theirs", 1001)):
        folder = tmp_path / name
        folder.mkdir()
        os.chown(folder, owner, owner)
        volumes[str(folder)] = {"bind": f"/work/{name}", "mode": "rw"}

    ended = contained.run("-n", "1", "-c", WRITES, volumes=volumes)

    assert contained.image.attrs["Config"]["User"] == "1000:1000"
    written = (tmp_path / "mine" / "out").stat()
    assert (written.st_uid, written.st_gid) == (1000, 1000)
    assert "nothing can attach" not in ended.stderr, ended
    assert (ended.status, ended.foreign[-1]) == (
        1,
        "PermissionError: [Errno 13] Permission denied: 'theirs/out'",
    )
    assert "'/work/theirs' is 1001:1001's\n" in ended.stderr
    assert "you can: docker run --user 1001:1001 " in ended.stderr


def test_it_runs_where_root_and_all_capabilities_are_forbidden(contained: Any) -> None:
    """As Kubernetes' "restricted" has it."""
    ended = contained.run(
        *("-n", "1", "-c", "import os; print(os.getuid())"),
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        read_only=True,
    )
    assert (ended.status, ended.stdout) == (0, "1000\n"), ended
