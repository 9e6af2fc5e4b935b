"""Attach a file to an image or SIF in a registry, with ``oras``.

The file becomes an OCI artifact whose manifest has the other one as its ``subject``
(OCI distribution specification 1.1). A registry that knows subjects lists the artifacts
of each; for one that does not, oras keeps the list under a tag made of the digest.
"""

from __future__ import annotations

import base64
import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from docker.auth import load_config

from images.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

    from images.registry import Registry

CYCLONEDX = "application/vnd.cyclonedx+json"

#: Without it, oras writes the current time, and the same file attached twice would be
#: two artifacts.
ALWAYS = "org.opencontainers.image.created=1970-01-01T00:00:00Z"

_LOGIN = "login.json"


@dataclass(frozen=True, slots=True)
class File:
    """A file to attach: its name, media type and content."""

    name: str
    type: str
    content: bytes


class Repository:
    """One repository of a registry.

    Parameters
    ----------
    client : docker.DockerClient
        The engine, used if this machine has no oras.
    registry : Registry
        The registry.
    kind : str
        "image" or "sif".
    """

    def __init__(
        self, client: docker.DockerClient, registry: Registry, kind: str
    ) -> None:
        self._client = client
        self._registry = registry
        self._name = registry.repository(kind)

    def attach(self, digest: str, file: File) -> None:
        """Attach a file to the manifest of a digest.

        Raises
        ------
        ConfigError
            The registry refuses, or does not answer.
        """
        with self._files({file.name: file.content}) as takes:
            self._oras(
                "attach",
                f"--artifact-type={file.type}",
                f"--annotation={ALWAYS}",
                f"{self._name}@{digest}",
                f"{file.name}:{file.type}",
                takes=takes,
            )

    def attached(self, digest: str, kind: str) -> list[bytes]:
        """Return the files of a media type that are attached to a digest.

        Raises
        ------
        ConfigError
            The registry refuses, or does not answer.
        """
        with self._files({}) as takes:
            told = self._oras(
                "discover",
                "--format=json",
                f"--artifact-type={kind}",
                f"{self._name}@{digest}",
                takes=takes,
            )
            listed = json.loads(told)
            found = listed.get("referrers") or listed.get("manifests") or []
            manifests = [
                json.loads(
                    self._oras("manifest", "fetch", each["reference"], takes=takes)
                )
                for each in found
            ]
            return [
                self._oras(
                    "blob",
                    "fetch",
                    "--output=-",
                    f"{self._name}@{manifest['layers'][0]['digest']}",
                    takes=takes,
                ).encode()
                for manifest in manifests
            ]

    def _oras(self, *words: str, takes: dict[str, Path]) -> str:
        at = 2 if words[0] in {"manifest", "blob"} else 1
        plain = ["--plain-http"] * self._registry.plain
        options = [f"--registry-config={_LOGIN}", *plain]
        line = ["oras", *words[:at], *options, *words[at:]]
        return run(self._client, line, takes=takes)

    @contextmanager
    def _files(self, files: dict[str, bytes]) -> Iterator[dict[str, Path]]:
        """Write files and oras's login to a temporary folder; yield their paths."""
        with tempfile.TemporaryDirectory(prefix="oras-") as directory:
            folder = Path(directory)
            login = json.dumps(login_file(self._registry)).encode()
            for name, content in {**files, _LOGIN: login}.items():
                (folder / name).write_bytes(content)
            yield {name: folder / name for name in (*files, _LOGIN)}


def login_file(registry: Registry) -> dict[str, object]:
    """Return a file as ``docker login`` writes it: the given login, or docker's."""
    host = registry.address.partition("/")[0]
    user, password = registry.user, registry.password
    if not user:
        stored = load_config().resolve_authconfig(host) or {}
        # Those of a credential helper have capitals.
        known = {str(key).lower(): value for key, value in stored.items()}
        user, password = known.get("username", ""), known.get("password", "")
    if not user:
        return {"auths": {}}
    word = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"auths": {host: {"auth": word}}}
