"""Sign what is in a registry, and files, with ``cosign`` and the builder's key.

The key is the one that signs SIFs (:mod:`images.signing`); cosign takes keys in a
format of its own, into which it is put each time. No log of others is told (Rekor), so
that a site without a way out can sign and verify.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from containers.engine import say
from images.attachments import login_file
from images.tools import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import docker

    from images.registry import Registry

_KEY = "import-cosign.key"
_LOGIN = "config.json"
#: No passphrase, as the key that it is made from; and the login beside the files.
_ENVIRON = {"COSIGN_PASSWORD": "", "DOCKER_CONFIG": "."}


def sign_pushed(
    client: docker.DockerClient, registry: Registry, names: Iterable[str], key: Path
) -> None:
    """Sign images and SIFs in a registry.

    Parameters
    ----------
    client : docker.DockerClient
        The engine, used if this machine has no cosign.
    registry : Registry
        The registry.
    names : iterable of str
        What to sign, by digest: ``host/path@sha256:…``.
    key : pathlib.Path
        The private key, in PEM.

    Raises
    ------
    ConfigError
        The key cannot be used, or the registry refuses.
    """
    plain = ["--allow-http-registry"] * registry.plain
    with _imported(client, key) as takes, tempfile.TemporaryDirectory() as directory:
        login = Path(directory) / _LOGIN
        login.write_text(json.dumps(login_file(registry)))
        for name in names:
            line = ["cosign", "sign", "--yes", "--tlog-upload=false", *plain]
            line += [f"--key={_KEY}", name]
            run(client, line, takes=takes | {_LOGIN: login}, environ=_ENVIRON)
            say(f"signed {name}")


def sign_file(client: docker.DockerClient, file: Path, key: Path) -> Path:
    """Sign a file; return that of the signature, in base64, which lies beside it.

    Raises
    ------
    ConfigError
        The key cannot be used.
    """
    signature = file.with_name(f"{file.name}.sig")
    with _imported(client, key) as takes:
        line = ["cosign", "sign-blob", "--yes", "--tlog-upload=false", f"--key={_KEY}"]
        run(
            client,
            [*line, f"--output-signature={signature.name}", file.name],
            takes=takes | {file.name: file},
            gives={signature.name: signature},
            environ=_ENVIRON,
        )
    return signature


@contextmanager
def _imported(client: docker.DockerClient, key: Path) -> Iterator[dict[str, Path]]:
    """Yield the key in cosign's format, as a file to take along."""
    with tempfile.TemporaryDirectory(prefix="cosign-") as directory:
        imported = Path(directory) / _KEY
        run(
            client,
            ["cosign", "import-key-pair", "--yes", "--key=key.pem"],
            takes={"key.pem": key},
            gives={_KEY: imported},
            environ=_ENVIRON,
        )
        yield {_KEY: imported}
