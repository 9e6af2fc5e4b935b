"""Sign SIFs with the builder's private key, and verify them with the public one.

Keys are in PEM, as ``openssl genpkey -algorithm ed25519`` makes them (or RSA, 2048 bits
and more), and have no passphrase, which somebody would have to type.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from containers.engine import say
from dask_runner.errors import ConfigError
from images.tools import apptainer

if TYPE_CHECKING:
    import docker


def sign(client: docker.DockerClient, sif: Path, key: Path) -> None:
    """Sign a SIF in place, unless this key has signed it already.

    Raises
    ------
    ConfigError
        The key cannot be used.
    """
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(
            f"SIGN_KEY={key}: {error}",
            "a private key in PEM without a passphrase",
            f"openssl genpkey -algorithm ed25519 -out {key}",
        ) from None
    public = private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(public)
        file.flush()
        if signed_by(client, sif, Path(file.name)):
            return
    aside = sif.with_suffix(".new")
    apptainer(
        client,
        ["sign", "--key", "key.pem", sif.name],
        takes={sif.name: sif, "key.pem": key},
        gives={sif.name: aside},
    )
    aside.chmod(0o755)
    aside.replace(sif)
    say(f"signed {sif.name} with {key}")


def signed_by(client: docker.DockerClient, sif: Path, key: Path) -> bool:
    """Return whether a SIF is intact and signed by the owner of a public key."""
    try:
        verify(client, sif, key)
    except ConfigError:
        return False
    return True


def verify(client: docker.DockerClient, sif: Path, key: Path) -> None:
    """Check a SIF against a public key.

    Raises
    ------
    ConfigError
        It is not signed by that key, or was changed later.
    """
    apptainer(
        client,
        ["verify", "--key", "key.pem", sif.name],
        takes={sif.name: sif, "key.pem": key},
    )
