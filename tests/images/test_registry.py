"""Images in a registry: a real server, on loopback, open and with a password."""

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("registry"),
    pytest.mark.timeout(3600),
]

ROOT = Path(__file__).resolve().parents[2]
# Of what `make` builds here, so that it takes nobody's images.
OWN_NAME = "dask-runner-make-test"
QUICK = "--mksquashfs-args '-comp zstd -Xcompression-level 1'"

USER, PASSWORD = "builder", "not a good one"
REFUSED = r"no basic auth credentials|unauthorized"
READY_SECONDS = 30
BILL = '{"bomFormat": "CycloneDX"}'
RECIPE = """\
FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -q -y --no-install-recommends \
    docker-registry apache2-utils
ENTRYPOINT ["sh", "-c"]
"""
OPEN = {
    "version": "0.1",
    "storage": {"filesystem": {"rootdirectory": "/srv"}},
    "http": {"addr": ":5000"},
}
LOCKED = OPEN | {"auth": {"htpasswd": {"realm": "tests", "path": "/etc/passwords"}}}
# The passwords are there for the open one too, which does not look. YAML is JSON too.
SERVE = f"""\
htpasswd -Bbn '{USER}' '{PASSWORD}' >/etc/passwords
echo '%s' >/etc/registry.yml
exec docker-registry serve /etc/registry.yml
"""
Serve = Callable[[dict[str, Any]], "Server"]


class Server:
    """A registry in a container, on a port of loopback."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.wait()

    @property
    def host(self) -> str:
        self.container.reload()
        return f"localhost:{self.container.ports['5000/tcp'][0]['HostPort']}"

    @property
    def address(self) -> str:
        return f"{self.host}/group"

    def wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://{self.host}/", timeout=5):
                    return
            except OSError:
                assert time.monotonic() < deadline, self.container.logs().decode()
                time.sleep(0.1)

    def tags(self, name: str) -> list[str]:
        url = f"http://{self.host}/v2/group/{name}/tags/list"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[str] = json.load(answer)["tags"]
        # Not those that stand for a list of what is attached to a digest.
        return sorted(tag for tag in found if not tag.startswith("sha256-"))


@pytest.fixture(scope="module")
def serve(engine: Any) -> Iterator[Serve]:
    """Start a registry server: ``serve(OPEN)``."""
    from ci.base_image import archive, build  # noqa: PLC0415  needs the Docker SDK

    context = archive({"Dockerfile": RECIPE.encode()})
    image = build(engine, context, "dask-runner-registry")
    containers = []

    def start(config: dict[str, Any]) -> Server:
        container = engine.containers.run(
            image,
            [SERVE % json.dumps(config)],
            detach=True,
            ports={"5000/tcp": ("127.0.0.1", None)},
        )
        containers.append(container)
        return Server(container)

    yield start
    for container in containers:
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def server(serve: Serve) -> Server:
    return serve(OPEN)


@pytest.fixture(scope="module")
def row() -> Any:
    from images import table  # noqa: PLC0415  needs the Docker SDK

    # Pulling gives its name away here, and that is not the checkout's to lose.
    return replace(table.row("openmpi"), name="registry-test", default=False)


def registry_of(server: Server, **login: str) -> Any:
    from images.registry import Registry  # noqa: PLC0415

    return Registry(server.address, plain=True, **login)


@pytest.fixture(scope="module")
def pushed(
    engine: Any, image: Any, sif: Path, server: Server, row: Any
) -> dict[str, str]:
    from images import registry  # noqa: PLC0415

    return registry.push(engine, registry_of(server), row, image, sif, BILL)


def test_the_bill_of_materials_is_attached_to_image_and_sif(
    pushed: dict[str, str], server: Server, row: Any
) -> None:
    from images.referrer import CYCLONEDX, Repository  # noqa: PLC0415

    source = registry_of(server)
    for kind in ("image", "sif"):
        digest = pushed[f"{source.repository(kind)}:{row.name}"]
        repository = Repository(source, kind)
        assert repository.attached(digest, CYCLONEDX) == [BILL.encode()]
        assert repository.attached(digest, "text/plain") == []


def test_what_was_pushed_is_there_by_its_facts_and_by_its_name(
    pushed: dict[str, str], image: Any, server: Server, row: Any
) -> None:
    from images.registry import exact_tag  # noqa: PLC0415

    version = image.labels["org.opencontainers.image.version"]
    exact = exact_tag(image.labels, row)
    assert exact.startswith(f"{version}-openmpi5.")
    expected = sorted([exact, f"{version}-registry-test", "registry-test"])
    assert server.tags("dask-runner") == expected
    assert server.tags("dask-runner-sif") == expected
    assert all(digest.startswith("sha256:") for digest in pushed.values()), pushed


def test_what_is_pulled_is_what_was_pushed(
    engine: Any,
    pushed: dict[str, str],
    image: Any,
    sif: Path,
    server: Server,
    row: Any,
    tmp_path: Path,
) -> None:
    from images import registry  # noqa: PLC0415

    del pushed
    copy = tmp_path / "copy.sif"
    source = registry_of(server)
    try:
        assert registry.pull(engine, source, row, copy).id == image.id
    finally:
        engine.images.remove(row.tag)
        engine.images.remove(f"{source.repository('image')}:{row.name}")
    assert copy.read_bytes() == sif.read_bytes()


def test_a_job_runs_straight_from_the_registry(
    pushed: dict[str, str], engine: Any, sif: Path, server: Server
) -> None:
    from ci.slurm_cluster import Cluster  # noqa: PLC0415

    del pushed
    source = "oras://registry:5000/group/dask-runner-sif:registry-test"
    code = (
        "from dask.distributed import Client;print(Client().submit(pow, 2, 5).result())"
    )
    with Cluster("dask-runner-registry", cpus=2, images=sif.parent) as cluster:
        network = engine.networks.get(cluster.name)
        network.connect(server.container, aliases=["registry"])
        try:
            done = cluster.run(
                f"srun -N2 -n2 apptainer --quiet run --no-https {source} -c '{code}'",
                timeout=240,
            )
        finally:
            network.disconnect(server.container)
    assert (done.returncode, done.stdout) == (0, "32\n"), done


def test_an_image_of_ones_own_is_built_from_the_published_one(
    pushed: dict[str, str], engine: Any, sif: Path, server: Server
) -> None:
    from ci.slurm_cluster import Cluster  # noqa: PLC0415

    del pushed
    source = "registry:5000/group/dask-runner-sif:registry-test"
    words = f"--build-arg BOOTSTRAP=oras --build-arg FROM={source}"
    code = "from cachetools import LRUCache; print(len(LRUCache(2)))"
    with Cluster("dask-runner-derive", nodes=1, cpus=2, images=sif.parent) as cluster:
        cluster.write("derive.def", (ROOT / "recipes/derive.def").read_text())
        cluster.write("requirements.txt", "cachetools\n")
        network = engine.networks.get(cluster.name)
        network.connect(server.container, aliases=["registry"])
        try:
            built = cluster.run(
                f"apptainer build --no-https {QUICK} {words} mine.sif derive.def",
                timeout=900,
            )
        finally:
            network.disconnect(server.container)
        assert built.returncode == 0, built.stderr[-3000:]
        done = cluster.run(
            f"apptainer --quiet run mine.sif -n 1 -c '{code}'", timeout=240
        )
    assert (done.returncode, done.stdout) == (0, "0\n"), done


def make(target: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run make as a user does, with an image name that is nobody's."""
    return subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=ROOT,
        env=os.environ | {"IMAGE_NAME": OWN_NAME} | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """A builder's private and public key."""
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", str(key)],
        ["pkey", "-in", str(key), "-pubout", "-out", str(public)],
    ):
        subprocess.run(["openssl", *command], check=True)
    return {"SIGN_KEY": str(key), "VERIFY_KEY": str(public)}


@pytest.fixture
def own_name(engine: Any) -> Iterator[None]:
    """Nothing is left of what make does under that name."""
    yield
    for found in engine.images.list(OWN_NAME):
        for tag in found.tags:
            if tag.startswith(f"{OWN_NAME}:"):
                engine.images.remove(tag)
    for file in (ROOT / "build").glob(f"{OWN_NAME}*"):
        file.unlink()


@pytest.mark.usefixtures("image", "own_name")
def test_make_push_and_make_pull_are_all_that_a_user_types(
    engine: Any, serve: Serve, keys: dict[str, str]
) -> None:
    from images.referrer import CYCLONEDX, Repository  # noqa: PLC0415
    from images.registry import Registry  # noqa: PLC0415

    locked = serve(LOCKED)
    where = {"REGISTRY": locked.address, "MPI": "openmpi"}
    login = {"REGISTRY_USER": USER, "REGISTRY_PASSWORD": PASSWORD}
    sif = ROOT / "build" / f"{OWN_NAME}-openmpi.sif"

    refused = make("push", **where)
    assert refused.returncode != 0, refused.stdout
    assert re.search(REFUSED, refused.stdout), refused.stdout

    done = make("push", **where, **login, **keys)
    assert done.returncode == 0, done.stdout
    pushed = json.loads(sif.with_suffix(".pushed.json").read_text())
    content = sif.read_bytes()
    registry = Registry(locked.address, USER, PASSWORD, plain=True)
    for kind in ("image", "sif"):
        digest = pushed[f"{registry.repository(kind)}:openmpi"]
        (bill,) = Repository(registry, kind).attached(digest, CYCLONEDX)
        assert json.loads(bill)["bomFormat"] == "CycloneDX"

    sif.unlink()
    engine.images.remove(f"{OWN_NAME}:openmpi", force=True)
    refused = make("pull", **where)
    assert refused.returncode != 0, refused.stdout
    assert not sif.exists()
    done = make("pull", **where, **login, **keys)
    assert done.returncode == 0, done.stdout
    assert sif.read_bytes() == content
    engine.images.remove(f"{registry.repository('image')}:openmpi")
    labels = engine.images.get(f"{OWN_NAME}:openmpi").labels
    assert labels["dask-runner.mpi.family"] == "openmpi"


def test_a_password_is_asked_for_and_taken(
    engine: Any, image: Any, sif: Path, serve: Serve, row: Any, tmp_path: Path
) -> None:
    from dask_runner.errors import ConfigError  # noqa: PLC0415
    from images import registry  # noqa: PLC0415
    from images.referrer import CYCLONEDX, Repository  # noqa: PLC0415

    locked = serve(LOCKED)
    nobody = registry_of(locked)
    somebody = registry_of(locked, user=USER, password=PASSWORD)
    copy = tmp_path / "copy.sif"
    with pytest.raises(ConfigError, match=REFUSED):
        registry.push(engine, nobody, row, image, sif)
    pushed = registry.push(engine, somebody, row, image, sif, BILL)
    digest = pushed[f"{somebody.repository('sif')}:{row.name}"]
    assert Repository(somebody, "sif").attached(digest, CYCLONEDX) == [BILL.encode()]
    with pytest.raises(ConfigError, match="401"):
        Repository(nobody, "sif").attached(digest, CYCLONEDX)
    with pytest.raises(ConfigError, match=REFUSED):
        registry.pull(engine, nobody, row, copy)
    assert not copy.exists()
    try:
        registry.pull(engine, somebody, row, copy)
    finally:
        for name in (row.tag, f"{somebody.repository('image')}:{row.name}"):
            engine.images.remove(name)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.sif"]


def test_a_push_that_is_cut_short_moves_no_tag_and_can_be_done_again(
    engine: Any, pushed: dict[str, str], image: Any, sif: Path, server: Server, row: Any
) -> None:
    from ci.base_image import archive, build  # noqa: PLC0415  needs the Docker SDK
    from dask_runner.errors import ConfigError  # noqa: PLC0415
    from images import registry  # noqa: PLC0415

    before = pushed[f"{server.address}/dask-runner:{row.name}"]
    # Another release: one more layer, and another version.
    recipe = f"FROM {image.id}\nRUN dd if=/dev/urandom of=/big bs=1M count=256\n"
    context = archive({"Dockerfile": recipe.encode()})
    labels = {"org.opencontainers.image.version": "99.0"}
    newer = build(engine, context, f"{row.tag}-next", labels=labels)
    cut = subprocess.Popen(["sh", "-c", f"sleep 1; docker kill {server.container.id}"])
    try:
        with pytest.raises(ConfigError):
            registry.push(engine, registry_of(server), row, newer, sif)
        assert cut.wait() == 0
        server.container.start()
        server.wait()
        assert not [tag for tag in server.tags("dask-runner") if tag.startswith("99")]
        name = f"{server.address}/dask-runner:{row.name}"
        assert engine.images.get_registry_data(name).id == before
        again = registry.push(engine, registry_of(server), row, newer, sif)
        assert again[name] != before
        assert engine.images.get_registry_data(name).id == again[name]
    finally:
        cut.kill()
        cut.wait()
        engine.images.remove(f"{row.tag}-next", force=True)


def test_a_sif_is_signed_once_and_a_changed_one_is_told(
    engine: Any, sif: Path, tmp_path: Path, keys: dict[str, str]
) -> None:
    from images.signing import sign, signed_by  # noqa: PLC0415

    key, public = Path(keys["SIGN_KEY"]), Path(keys["VERIFY_KEY"])
    copy = tmp_path / "copy.sif"
    copy.write_bytes(sif.read_bytes())
    assert not signed_by(engine, copy, public)
    sign(engine, copy, key)
    assert signed_by(engine, copy, public)
    signed = bytearray(copy.read_bytes())
    sign(engine, copy, key)
    assert copy.read_bytes() == signed
    signed[len(signed) // 2] ^= 1
    copy.write_bytes(signed)
    assert not signed_by(engine, copy, public)
