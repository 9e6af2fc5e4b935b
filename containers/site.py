"""What differs from site to site: mirrors, package index, proxy, private CA.

Everything comes from the calling environment; ci/README.md has the table. The
base image carries it to where builds need it, so that no Dockerfile has to.
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
# The first that is set names the bundle. What pip trusts outside is what it
# has to trust inside.
CA_BUNDLE = ("CA_BUNDLE", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
# PIP_INDEX_URL becomes index-url in the image's pip.conf, and so on.
PIP = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
)
# Docker passes these to every RUN of a build and keeps them out of the image.
PROXY = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
# Another name than ca-certificates.crt, which the package of that name
# overwrites as soon as anything installs it.
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
    """What the calling environment says about where packages come from.

    Attributes
    ----------
    mirror, security_mirror : str
        Debian's archive and its security archive; an empty security mirror
        means that there is none.
    own_mirror : bool
        Whether the environment names a mirror, so that a base image that was
        pulled has to be pointed at it.
    bundle : bytes
        Certificates to trust, in PEM; empty for those the image has.
    pip : dict of str to str
        pip's settings, named as in pip.conf.
    proxy : dict of str to str
        Proxy variables, for builds only.
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
        """Return what the base image needs of this, by path in the image.

        Empty where the environment says nothing: the base image is then used
        as it is.
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
        """Return a hash of :meth:`files`, by which an image knows its site."""
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
    """Put a list's items on lines of their own, as pip.conf wants them."""
    items = value.split()
    return value if len(items) == 1 else "\n    " + "\n    ".join(items)
