"""The site's settings: mirrors, package index, proxy, private certificate authority.

They all come from the environment; ci/README.md has the table. The base image holds
them, so that no Dockerfile has to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEBIAN_MIRROR = "http://deb.debian.org/debian"
DEBIAN_SECURITY_MIRROR = "http://deb.debian.org/debian-security"
# The first that is set names the bundle: pip in a build trusts what pip here trusts.
CA_BUNDLE = ("CA_BUNDLE", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
# PIP_INDEX_URL becomes index-url in the image's pip.conf, and so on.
PIP = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
)
# Docker gives these to every RUN of a build, and does not store them in the image.
PROXY = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
# Not ca-certificates.crt, which installing the package of that name overwrites.
BUNDLE_IN_IMAGE = "/etc/ssl/site-ca.pem"

_SOURCES = """\
Types: deb
URIs: {mirror}
Suites: {suites}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


@dataclass(frozen=True, slots=True)
class Site:
    """Where packages come from, as the environment says.

    Attributes
    ----------
    mirror, security_mirror : str
        Debian's archive and its security archive; the latter is empty if there is none.
    own_mirror : bool
        Whether the environment names a mirror; a pulled base image then gets its
        address.
    bundle : bytes
        Certificates to trust, in PEM; empty to trust those of the image.
    pip : dict of str to str
        pip's settings, named as in pip.conf.
    proxy : dict of str to str
        Proxy variables, for builds alone.
    """

    mirror: str
    security_mirror: str
    own_mirror: bool
    bundle: bytes
    pip: dict[str, str]
    proxy: dict[str, str]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Site:
        """Read the site's variables from an environment."""
        mirror = environ.get("DEBIAN_MIRROR", "")
        # A site with a mirror of its own may not reach the official one.
        security = environ.get(
            "DEBIAN_SECURITY_MIRROR", "" if mirror else DEBIAN_SECURITY_MIRROR
        )
        return cls(
            mirror=mirror or DEBIAN_MIRROR,
            security_mirror=security,
            own_mirror=bool(mirror),
            bundle=_bundle(environ),
            pip={
                name.removeprefix("PIP_").lower().replace("_", "-"): environ[name]
                for name in PIP
                if environ.get(name)
            },
            proxy={
                name: environ[name]
                for lower in PROXY
                for name in (lower, lower.upper())
                if environ.get(name)
            },
        )

    def files(self) -> dict[str, bytes]:
        """Return the files that the base image gets, by path in the image.

        There are none if the environment sets nothing.
        """
        files: dict[str, bytes] = {}
        pip = dict(self.pip)
        if self.bundle:
            files[BUNDLE_IN_IMAGE] = self.bundle
            files["/etc/apt/apt.conf.d/80site-ca"] = (
                f'Acquire::https::CaInfo "{BUNDLE_IN_IMAGE}";\n'.encode()
            )
            pip["cert"] = BUNDLE_IN_IMAGE
        if pip:
            lines = [f"{name} = {_folded(value)}\n" for name, value in pip.items()]
            files["/etc/pip.conf"] = ("[global]\n" + "".join(lines)).encode()
        if self.own_mirror:
            files["/etc/apt/sources.list.d/debian.sources"] = self.sources().encode()
        return files

    def sources(self) -> str:
        """Return apt's sources for the base image, in deb822 form."""
        stanzas = [_SOURCES.format(mirror=self.mirror, suites="trixie trixie-updates")]
        if self.security_mirror:
            stanzas.append(
                _SOURCES.format(mirror=self.security_mirror, suites="trixie-security")
            )
        return "\n".join(stanzas)

    def fingerprint(self) -> str:
        """Return a hash of :meth:`files`; the base image has it as a label."""
        digest = hashlib.sha256()
        for path, content in sorted(self.files().items()):
            digest.update(f"{path}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:16]


def _bundle(environ: Mapping[str, str]) -> bytes:
    for name in CA_BUNDLE:
        if value := environ.get(name):
            try:
                return Path(value).read_bytes()
            except OSError as error:
                raise ConfigError(
                    f"{name}={value} cannot be read: {error.strerror}",
                    "a file of certificates in PEM",
                    f"correct or unset {name}",
                ) from None
    return b""


def _folded(value: str) -> str:
    """Put the items of a list on a line each, the form that pip.conf takes."""
    items = value.split()
    return value if len(items) == 1 else "\n    " + "\n    ".join(items)
