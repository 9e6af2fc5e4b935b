"""The secret by which the processes of a launch know each other without a shared disk.

All have the same one, from a file or a variable. From it each derives the same key and
certificate, with which TLS proves both ends to each other: the secret itself is never
sent. A stranger who connects can see the certificate, and try secrets against it, so
the derivation is slow (scrypt) and a short secret is refused.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.own_variables import VARIABLE_OF_SECRET
from dask_runner.meeting import tls

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes of the shortest secret, and of the longest that is read.
SHORTEST, LONGEST = 16, 4096
#: The mode of a secret of root's that a pod's other accounts can read by its group.
_OF_A_POD = 0o440

#: scrypt's cost: 16 MiB and a twentieth of a second for each secret that is tried.
_COST, _BLOCK, _PARALLEL = 1 << 14, 8, 1
_SALT = b"dask-runner: the meeting at an address, 1"


def read(file: str | None, environ: Mapping[str, str]) -> bytes:
    """Return the secret, from a file or the variable.

    Raises
    ------
    ConfigError
        If there is none, others can read the file, or it is short.
    """
    if file:
        where, secret = f"--secret-file {file}", _from_file(file)
    else:
        where = VARIABLE_OF_SECRET
        secret = os.fsencode(environ.get(VARIABLE_OF_SECRET, "")).strip()
        if not secret:
            raise ConfigError(
                "--meet without a secret",
                "a secret that all processes of this launch have, and nobody else",
                f"give all the same --secret-file FILE, or {VARIABLE_OF_SECRET}; make "
                "one with head -c 32 /dev/urandom | base64",
            )
    if len(secret) < SHORTEST:
        raise ConfigError(
            f"{where}: a secret of {len(secret)} bytes",
            f"at least {SHORTEST} bytes that nobody can guess",
            "make one with head -c 32 /dev/urandom | base64",
        )
    return secret


def _from_file(path: str) -> bytes:
    try:
        descriptor = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_NONBLOCK)  # noqa: PTH111  as the shell does
        try:
            _check(path, os.fstat(descriptor))
            return os.read(descriptor, LONGEST).strip()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(
            f"--secret-file {path}: {error.strerror}",
            "a file with the secret of this launch, on each node",
            "make one with head -c 32 /dev/urandom | base64",
        ) from error


def _check(path: str, found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    # Kubernetes shows a secret to a group of the pod's alone.
    of_pod = found.st_uid == 0 and mode == _OF_A_POD
    trouble = ""
    if not stat.S_ISREG(found.st_mode):
        trouble = "is no regular file"
    elif found.st_uid not in (0, os.geteuid()):
        trouble = f"belongs to uid {found.st_uid}"
    elif mode & 0o077 and not of_pod:
        trouble = f"can be read by others (mode {mode:04o})"
    if trouble:
        raise ConfigError(
            f"--secret-file {path} {trouble}",
            "a file of yours that nobody else can read",
            "make a new secret, which nobody has seen, in a file of mode 600",
        )


def material(secret: bytes) -> tuple[str, str]:
    """Return the certificate and the key of all who have the secret, in PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415  as in tls
        Ed25519PrivateKey,
    )
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # noqa: PLC0415

    scrypt = Scrypt(_SALT, 32, _COST, _BLOCK, _PARALLEL)
    # Ed25519 signs without chance: the same secret has the same certificate.
    return tls.certified(Ed25519PrivateKey.from_private_bytes(scrypt.derive(secret)), 1)
