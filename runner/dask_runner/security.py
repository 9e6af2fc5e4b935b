"""TLS material made for one cluster, and how it reaches Dask's processes."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from distributed import Security

#: Jobs run for days, seldom for weeks; clocks of nodes differ by minutes.
VALID = dt.timedelta(days=365)
SKEW = dt.timedelta(hours=1)

_NAME = "dask-runner"
_ROLES = ("scheduler", "worker", "client")
_CERTIFICATE = "certificate.pem"
_KEY = "key.pem"


def material() -> tuple[str, str]:
    """Make a self-signed certificate and its private key.

    All processes of the cluster share them, as with
    :meth:`distributed.Security.temporary`: who holds the key belongs to the
    cluster. The curve is P-256 because an RSA key takes a tenth of a second, and
    every rank would wait for it.

    Returns
    -------
    (str, str)
        Certificate and key, in PEM.
    """
    from cryptography import x509  # noqa: PLC0415  70 ms, on rank 0 only
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALID)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(
        serialization.Encoding.PEM
    ).decode(), private.decode()


def write(directory: Path, certificate: str, key: str) -> None:
    """Write the material into a new directory that only we can read."""
    directory.mkdir(mode=0o700)
    for name, text in ((_CERTIFICATE, certificate), (_KEY, key)):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(directory / name, flags, 0o600), "w") as file:
            file.write(text)


def variables(directory: Path) -> dict[str, str]:
    """Return the variables of Dask's configuration that name the material.

    Every Dask process that has them uses it, ``Client()`` in a user's program
    included.
    """
    prefix = "DASK_DISTRIBUTED__COMM__"
    # Dask reads a variable as a Python literal if it can, and Python warns about
    # some paths that are none; in quotes a path is one.
    certificate, key = repr(str(directory / _CERTIFICATE)), repr(str(directory / _KEY))
    found = {
        f"{prefix}REQUIRE_ENCRYPTION": "True",
        f"{prefix}TLS__CA_FILE": certificate,
    }
    for role in _ROLES:
        found[f"{prefix}TLS__{role.upper()}__CERT"] = certificate
        found[f"{prefix}TLS__{role.upper()}__KEY"] = key
    return found


def settings(certificate: str, key: str) -> dict[str, Any]:
    """Return the same as values of Dask's configuration, with the PEM text."""
    found: dict[str, Any] = {
        "distributed.comm.require-encryption": True,
        "distributed.comm.tls.ca-file": certificate,
    }
    for role in _ROLES:
        found[f"distributed.comm.tls.{role}.cert"] = certificate
        found[f"distributed.comm.tls.{role}.key"] = key
    return found


def as_security(certificate: str, key: str) -> Security | None:
    """Return the material as Dask's own object; None if there is none."""
    if not certificate:
        return None
    from distributed import Security  # noqa: PLC0415  the caller has Dask already

    from dask_runner.openssl import repair  # noqa: PLC0415

    repair()

    fields = {"tls_ca_file": certificate, "require_encryption": True}
    for role in _ROLES:
        fields[f"tls_{role}_cert"] = certificate
        fields[f"tls_{role}_key"] = key
    return Security(**fields)
