"""The user's own machine: ssh to the site, and a browser that a test drives."""

from __future__ import annotations

import os
import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from selenium import webdriver

from ci.slurm.parts import LABEL
from containers.base_image import archive
from containers.commands import Running, execute
from containers.entry import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker.models.containers import Container
    from docker.models.images import Image

    from ci.slurm.cluster import Cluster

#: What the browser showed when a test failed.
FAILED = ROOT / "build/failed.png"
DRIVER = "9515/tcp"
KEY = "/home/me/.ssh/id_ed25519"
#: In a container Chromium's own sandbox has no user namespaces, and /dev/shm is small.
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,900")


class Laptop:
    """A machine in the network of a cluster, outside its site.

    Parameters
    ----------
    container : Container
    """

    def __init__(self, container: Container) -> None:
        self._container = container

    def ssh(self, line: str, *, timeout: float = 600) -> Running:
        """Type a line that begins with ``ssh``, and leave it running."""
        assert line.startswith("ssh ")
        return Running(
            self._container,
            shlex.split(line),
            user="me",
            timeout=timeout,
            env=None,
            cwd="/home/me",
        )

    @contextmanager
    def browser(self) -> Iterator[webdriver.Remote]:
        """Open a browser with a fresh profile."""
        options = webdriver.ChromeOptions()
        for option in OPTIONS:
            options.add_argument(option)
        driver = webdriver.Remote(self._address(), options=options)
        try:
            yield driver
        except BaseException:
            FAILED.parent.mkdir(exist_ok=True)
            driver.save_screenshot(str(FAILED))
            raise
        finally:
            driver.quit()

    def _address(self) -> str:
        self._container.reload()
        (at, *_) = self._container.ports[DRIVER]
        # The engine's machine, which may be another one.
        host = urlsplit(os.environ.get("DOCKER_HOST", "")).hostname or "127.0.0.1"
        return f"http://{host}:{at['HostPort']}"


@contextmanager
def laptop(cluster: Cluster, image: Image) -> Iterator[Laptop]:
    """Start one, with the key of the cluster's user."""
    remote = urlsplit(os.environ.get("DOCKER_HOST", "")).hostname
    container = cluster.client.containers.run(
        image,
        detach=True,
        init=True,
        network=cluster.name,
        labels={LABEL: cluster.name},
        shm_size="1g",
        ports={DRIVER: None if remote else ("127.0.0.1", None)},
    )
    try:
        _give_key(container, cluster.run(["cat", ".ssh/id_ed25519"]).stdout)
        yield Laptop(container)
    finally:
        container.remove(force=True, v=True)


def _give_key(container: Any, key: str) -> None:
    container.put_archive("/home/me/.ssh", archive({"id_ed25519": key.encode()}))
    for command in (["chown", "me", KEY], ["chmod", "600", KEY]):
        status, said = execute(container, command)
        assert status == 0, said
