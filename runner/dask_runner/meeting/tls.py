"""TLS material made for one cluster, and how it reaches Dask's processes."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.launch.own_variables import TLS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: The key lives as long as the job, so the certificate need not say when that is: a
#: clock that takes local time for UTC, or stands still, would refuse it. The end is
#: the one that means none (RFC 5280, 4.1.2.5).
BEGINS = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
ENDS = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)

_NAME = "dask-runner"
#: Dask's names of the processes that have certificates.
ROLES = ("scheduler", "worker", "client")
#: Where the files are, in a directory of a rank's own.
DIRECTORY = "tls"
_CERTIFICATE = "certificate.pem"
_KEY = "key.pem"
_PREFIX = "DASK_DISTRIBUTED__COMM__"


def material() -> tuple[str, str]:
    """Make a self-signed certificate and its private key.

    All processes of the cluster share them, as with
    :meth:`distributed.Security.temporary`: a process that holds the key belongs to
    the cluster. The curve is P-256 because an RSA key takes a tenth of a second, and
    every rank would wait for it.

    Returns
    -------
    (str, str)
        Certificate and key, in PEM.
    """
    from cryptography import x509  # noqa: PLC0415  70 ms, on rank 0 only
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    return certified(key, x509.random_serial_number())


def certified(
    key: EllipticCurvePrivateKey | Ed25519PrivateKey, serial: int
) -> tuple[str, str]:
    """Return the self-signed certificate of a key, and the key, in PEM."""
    from cryptography import x509  # noqa: PLC0415  as above
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    own_hash = isinstance(key, ed25519.Ed25519PrivateKey)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(BEGINS)
        .not_valid_after(ENDS)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False
        )
        .sign(key, None if own_hash else hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(
        serialization.Encoding.PEM
    ).decode(), private.decode()


@contextlib.contextmanager
def in_memory(text: str) -> Iterator[str]:
    """Make a file that has no directory; yield a name that this process has for it.

    Python's :mod:`ssl` loads a key from a file only. An account that may rename files
    in that directory could read the key, or put another in its place.
    """
    with os.fdopen(os.memfd_create(_NAME), "w") as file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def write(directory: int, certificate: str, key: str) -> None:
    """Write the material into a new directory that only we can read.

    Parameters
    ----------
    directory : int
        Descriptor of the one in which it is made.
    certificate, key : str

    Raises
    ------
    OSError
        If something is there already, or there is no room.
    """
    os.mkdir(DIRECTORY, 0o700, dir_fd=directory)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    made = os.open(DIRECTORY, flags, dir_fd=directory)
    try:
        for name, text in ((_CERTIFICATE, certificate), (_KEY, key)):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with os.fdopen(os.open(name, flags, 0o600, dir_fd=made), "w") as file:
                file.write(text)
    finally:
        os.close(made)


def in_directory(directory: Path) -> tuple[Path, Path]:
    """Return the paths of certificate and key in the directory that they are in."""
    return directory / _CERTIFICATE, directory / _KEY


def variables(certificate_file: Path, key_file: Path) -> dict[str, str]:
    """Return the variables of Dask's configuration that name the material.

    Every Dask process that has them uses it, ``Client()`` in a user's program
    included.
    """
    # Dask reads a variable as a Python literal if it can, and Python warns about
    # some paths that are none; in quotes a path is one.
    certificate, key = repr(str(certificate_file)), repr(str(key_file))
    found = {
        TLS_VARIABLE: "1",
        f"{_PREFIX}REQUIRE_ENCRYPTION": "True",
        f"{_PREFIX}TLS__CA_FILE": certificate,
    }
    for role in ROLES:
        found[f"{_PREFIX}TLS__{role.upper()}__CERT"] = certificate
        found[f"{_PREFIX}TLS__{role.upper()}__KEY"] = key
    return found


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a cluster without TLS, perhaps below one that has it."""
    if not environ.get(TLS_VARIABLE):
        return {}  # the user asks for encryption
    return {TLS_VARIABLE: "", f"{_PREFIX}REQUIRE_ENCRYPTION": "False"}


@contextlib.contextmanager
def lent(certificate: str, key: str) -> Iterator[dict[str, str]]:
    """Lend the material to other processes of this user; yield the same variables.

    The files are in no directory. They are there while this process holds them, so they
    are gone with it, whatever ends it; and no other account can open them, whose names
    are below this process's own in ``/proc``.
    """
    own = Path(f"/proc/{os.getpid()}/fd")
    with contextlib.ExitStack() as stack:
        names = [stack.enter_context(in_memory(text)) for text in (certificate, key)]
        yield variables(*(own / Path(name).name for name in names))


def settings(certificate: str, key: str) -> dict[str, Any]:
    """Return the same as values of Dask's configuration, with the PEM text."""
    found: dict[str, Any] = {
        "distributed.comm.require-encryption": True,
        "distributed.comm.tls.ca-file": certificate,
    }
    for role in ROLES:
        found[f"distributed.comm.tls.{role}.cert"] = certificate
        found[f"distributed.comm.tls.{role}.key"] = key
    return found
