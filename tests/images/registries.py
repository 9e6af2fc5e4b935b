"""Registry servers in containers, open or with a password or a token, and tools."""

import io
import json
import tarfile
import urllib.request
from collections.abc import Mapping
from typing import Any

from tests.waiting import until

USER, PASSWORD = "builder", "not a good one"
#: What tools print that ask without a password.
REFUSED = r"no basic auth credentials|basic credential not found|[Uu]nauthorized|denied"
BILL = '{"bomFormat": "CycloneDX"}'
READY_SECONDS = 30

# Tools of others, which have to read what we wrote.
RECIPE = """\
FROM debian:trixie-slim
RUN apt-get update -q && apt-get install -q -y --no-install-recommends \
    docker-registry apache2-utils skopeo oras
ENTRYPOINT ["sh", "-c"]
"""
PORT = 5000
OPEN = {
    "version": "0.1",
    "storage": {"filesystem": {"rootdirectory": "/srv"}},
    "http": {"addr": f":{PORT}"},
}
LOCKED = OPEN | {"auth": {"htpasswd": {"realm": "tests", "path": "/etc/passwords"}}}
# The passwords are there for the others too, which do not look. YAML is JSON too.
SERVE = f"""\
htpasswd -Bbn '{USER}' '{PASSWORD}' >/etc/passwords
exec docker-registry serve /etc/registry.yml
"""


class Server:
    """A registry in a container, on a port of loopback.

    Parameters
    ----------
    engine, image
        Where, and what has :data:`RECIPE`.
    config : mapping
        The registry's.
    files : mapping of str to str
        More files in the container.
    """

    def __init__(
        self,
        engine: Any,
        image: Any,
        config: Mapping[str, Any],
        files: Mapping[str, str],
    ) -> None:
        self.container = engine.containers.create(
            image, [SERVE], ports={f"{PORT}/tcp": ("127.0.0.1", None)}
        )
        files = {"/etc/registry.yml": json.dumps(config), **files}
        self.container.put_archive("/", _archive(files))

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.container.start()
        until(self._answers, READY_SECONDS, lambda: self.container.logs().decode())

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.host}/", timeout=5):
                return True
        except OSError:
            return False

    @property
    def host(self) -> str:
        """Name and port, which is another after each start."""
        self.container.reload()
        return f"localhost:{self.container.ports[f'{PORT}/tcp'][0]['HostPort']}"

    @property
    def address(self) -> str:
        """What REGISTRY would be."""
        return f"{self.host}/group"

    def registry(self, **login: str) -> Any:
        """Return it as the code under test takes it."""
        from images.registry import Registry  # noqa: PLC0415  needs the Docker SDK

        return Registry(self.address, plain=True, **login)

    def tags(self, name: str) -> list[str]:
        """Return the tags of a repository."""
        url = f"http://{self.host}/v2/group/{name}/tags/list"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[str] = json.load(answer)["tags"]
        # Not those that stand for a list of what is attached to a digest.
        return sorted(tag for tag in found if not tag.startswith("sha256-"))

    def run(self, *command: str) -> str:
        """Run a program in its container, and return what it prints."""
        status, (out, err) = self.container.exec_run(list(command), demux=True)
        said = (out or b"").decode()
        assert status == 0, f"{command}: {status}\n{said}{(err or b'').decode()}"
        return said


def _archive(files: Mapping[str, str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name.lstrip("/"))
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()
