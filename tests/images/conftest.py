"""The real image, built from this checkout, and containers of it."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.images.registries import BILL, OPEN, RECIPE, Server
from tests.running import OURS

# What `docker run` is given beside the image, in the SDK's words.
Options = dict[str, Any]

START_AND_RUN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Ended:
    """A container that ended by itself."""

    status: int
    stdout: str
    stderr: str

    @property
    def foreign(self) -> list[str]:
        """Lines on stderr that are not the runner's."""
        return [line for line in self.stderr.splitlines() if not OURS.fullmatch(line)]


class Contained:
    """Starts containers of the image, and removes them with their volumes."""

    def __init__(self, image: Any, work: Path) -> None:
        self.image = image
        self.work = work
        self._containers: list[Any] = []

    def start(self, *args: str, **options: Any) -> Any:
        """Start the image with arguments, the test's folder as its /work."""
        options.setdefault("volumes", {})
        options["volumes"] |= {str(self.work): {"bind": "/work", "mode": "ro"}}
        # No network but the container's own loopback.
        options.setdefault("network_mode", "none")
        container = self.image.client.containers.create(
            self.image, list(args), **options
        )
        self._containers.append(container)
        container.start()
        return container

    def run(self, *args: str, **options: Any) -> Ended:
        """Run the image to its end."""
        container = self.start(*args, **options)
        status = container.wait(timeout=START_AND_RUN_SECONDS)["StatusCode"]
        output = [
            container.logs(stdout=out, stderr=not out).decode() for out in (True, False)
        ]
        return Ended(status, *output)

    def python(self, code: str, *args: str, **options: Any) -> Ended:
        """Run code with the image's Python and no runner."""
        return self.run("-c", code, *args, entrypoint="python", **options)

    def discard(self) -> None:
        """Remove the containers and their scratch."""
        while self._containers:
            self._containers.pop().remove(force=True, v=True)


@pytest.fixture
def contained(image: Any, tmp_path: Path, worker: str) -> Iterator[Contained]:
    """Run containers: ``contained.run("-n", "2", "script.py", user="12345")``."""
    # Other users read it, and pytest's folders are its user's only: one for the
    # run, one for the user, and one for the worker of pytest-xdist if there is.
    for folder in (tmp_path, *tmp_path.parents[: 3 if worker else 2]):
        folder.chmod(0o755)
    containers = Contained(image, tmp_path)
    yield containers
    containers.discard()


@pytest.fixture(scope="session")
def serve(engine: Any) -> Iterator[Callable[..., Server]]:
    """Start a registry server: ``serve(OPEN)``, or with more files in it."""
    from containers.base_image import archive, build  # noqa: PLC0415  needs the Docker SDK

    context = archive({"Dockerfile": RECIPE.encode()})
    image = build(engine, context, "dask-runner-registry")
    servers = []

    def start(config: Mapping[str, Any], files: Mapping[str, str] = {}) -> Server:
        server = Server(engine, image, config, files)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.container.remove(force=True, v=True)


@pytest.fixture(scope="session")
def row() -> Any:
    """A row with a name of its own: pulling an image takes the name from another."""
    from images import table  # noqa: PLC0415  needs the Docker SDK

    return replace(table.row("openmpi"), name="registry-test", default=False)


@pytest.fixture(scope="session")
def server(serve: Callable[..., Server]) -> Server:
    """A registry that is open to all."""
    return serve(OPEN)


@pytest.fixture(scope="session")
def pushed(
    engine: Any, image: Any, sif: Path, server: Server, row: Any
) -> dict[str, str]:
    """Digests by name of what was pushed there, bills of materials attached."""
    from images import registry  # noqa: PLC0415  needs the Docker SDK

    return registry.push(engine, server.registry(), row, image, sif, BILL)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """A builder's private and public key, in the words of make."""
    key, public = tmp_path / "key.pem", tmp_path / "public.pem"
    for command in (
        ["genpkey", "-algorithm", "ed25519", "-out", str(key)],
        ["pkey", "-in", str(key), "-pubout", "-out", str(public)],
    ):
        subprocess.run(["openssl", *command], check=True)
    return {"SIGN_KEY": str(key), "VERIFY_KEY": str(public)}
