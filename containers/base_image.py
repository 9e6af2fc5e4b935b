"""Provide the base image of all images here: pull it, or make it from packages.

``debian:trixie-slim`` is used if the engine has it, and pulled if a registry is
reachable. If not, debootstrap makes it from the distribution's packages, under the same
name, so that one ``FROM debian:trixie-slim`` works everywhere. A layer on top, under
the same name again, holds the site's settings (:mod:`containers.site`).
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import tarfile
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docker.errors import APIError, BuildError, ImageNotFound

from containers.engine import ensure, install, locked, say, tail
from containers.site import Site
from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import docker
    from docker.models.images import Image

BASE = "debian:trixie-slim"
# A firewall may drop packets silently; an air-gapped site should not wait for minutes
# each time.
PULL_SECONDS = 60
LABEL = "dask-runner.site"
PROGRAMS = {"debootstrap": "debootstrap"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Debian's own slim image leaves the same out.
SLIM = """\
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/*
"""
# And sets the same: no translations, no archives kept, no services started.
APT = """\
Acquire::Languages "none";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
APT::AutoRemove::SuggestsImportant "false";
"""
NO_SERVICES = "#!/bin/sh\nexit 101\n"
LEFT_OUT = ("var/cache/apt/archives", "var/lib/apt/lists", "var/log", "dev", "proc")


def ensure_base(client: docker.DockerClient, site: Site) -> Image:
    """Return the base image with the site's files in it, made if need be.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    site : Site
        Where packages come from.

    Raises
    ------
    ConfigError
        No registry is reachable and debootstrap cannot make the image either.
    """
    with locked("base-image"):
        image = _present(client)
        if image is None:
            image = _pulled(client) or _bootstrapped(client, site)
        # If the environment says nothing about the site, the image stays as it is.
        if not site.files() or image.labels.get(LABEL) == site.fingerprint():
            return image
        return _with_site_files(client, site)


def plain_base(client: docker.DockerClient) -> Image:
    """Return the base image without the site's files, as it was pulled or made.

    Raises
    ------
    ConfigError
        The engine does not tell of what image it was made.
    """
    image = client.images.get(BASE)
    while LABEL in image.labels:
        below = image.attrs.get("Parent")
        if not below:
            raise ConfigError(
                f"{BASE} has a site's settings, and the engine does not know the image "
                "below them",
                "a base image that was made here",
                f"docker image rm {BASE}, then build again",
            )
        image = client.images.get(below)
    return image


def build(
    client: docker.DockerClient, context: bytes, tag: str, **options: Any
) -> Image:
    """Build an image with the classic builder and the site's proxy.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    context : bytes
        The build context, a tar archive with a ``Dockerfile``.
    tag : str
        Name of the image.
    **options
        More of :meth:`docker.models.images.ImageCollection.build`.

    Raises
    ------
    ConfigError
        With the end of the build's output.
    """
    site = Site.of(os.environ)
    arguments = site.proxy | options.pop("buildargs", {})
    try:
        image, _ = client.images.build(
            fileobj=io.BytesIO(context),
            custom_context=True,
            tag=tag,
            rm=True,
            forcerm=True,
            buildargs=arguments,
            **options,
        )
    except BuildError as error:
        output = "".join(part.get("stream", "") for part in error.build_log)
        raise ConfigError(
            f"building {tag} failed: {error.msg}\n{tail(output)}",
            "packages that can be fetched from inside a build",
            "set the mirror, index, proxy or CA variables of ci/README.md",
        ) from None
    return image


def archive(files: dict[str, bytes]) -> bytes:
    """Return a tar archive of files by path, equal for equal content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size = len(content)
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _present(client: docker.DockerClient) -> Image | None:
    try:
        return client.images.get(BASE)
    except ImageNotFound:
        return None


def _pulled(client: docker.DockerClient) -> Image | None:
    say(f"pulling {BASE}")
    outcome: list[Image | APIError] = []

    def pull() -> None:
        try:
            outcome.append(client.images.pull(BASE))
        except APIError as error:
            outcome.append(error)

    # The SDK limits the time of each read, not that of the whole pull.
    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    thread.join(PULL_SECONDS)
    result = outcome[0] if outcome else f"no answer within {PULL_SECONDS} s"
    if isinstance(result, (str, APIError)):
        say(f"cannot pull {BASE}: {getattr(result, 'explanation', result)}")
        return None
    return result


def _bootstrapped(client: docker.DockerClient, site: Site) -> Image:
    install(PROGRAMS)
    if not KEYRING.exists():
        install({str(KEYRING): "debian-archive-keyring"})
    say(f"making {BASE} from the packages of {site.mirror}")
    with tempfile.TemporaryDirectory(prefix="debootstrap-") as directory:
        root = Path(directory) / "root"
        done = subprocess.run(
            [
                "debootstrap",
                "--variant=minbase",
                f"--keyring={KEYRING}",
                "trixie",
                str(root),
                site.mirror,
                # An older debootstrap has no script named trixie; sid's is the same.
                "/usr/share/debootstrap/scripts/sid",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ConfigError(
                f"debootstrap ended with status {done.returncode}\n{tail(done.stdout)}",
                f"a registry that has {BASE}, or a mirror of Debian's packages",
                "set DEBIAN_MIRROR (and http_proxy), or load the image into the engine",
            )
        _slim(root)
        return _imported(client, root)


def _slim(root: Path) -> None:
    (root / "etc/dpkg/dpkg.cfg.d/docker").write_text(SLIM)
    (root / "etc/apt/apt.conf.d/docker").write_text(APT)
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text(NO_SERVICES)
    policy.chmod(0o755)
    (root / "etc/apt/sources.list").unlink()
    sources = root / "etc/apt/sources.list.d/debian.sources"
    # Not the mirror's, which is a setting of the site: a layer on top has those.
    sources.write_text(Site.of({}).sources())
    # debootstrap copied this machine's; the engine writes others.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/hostname").unlink(missing_ok=True)


def _imported(client: docker.DockerClient, root: Path) -> Image:
    left_out = [f"--exclude=./{path}/*" for path in LEFT_OUT]
    excluded = [
        f"--exclude=./{line.split()[1].lstrip('/')}"
        for line in SLIM.splitlines()
        if line.startswith("path-exclude")
    ]
    tar = subprocess.Popen(
        ["tar", "--numeric-owner", *left_out, *excluded, "-C", str(root), "-c", "."],
        stdout=subprocess.PIPE,
    )
    repository, _, tag = BASE.partition(":")
    with tar:
        client.api.import_image_from_stream(
            tar.stdout, repository=repository, tag=tag, changes=['CMD ["bash"]']
        )
    if tar.returncode:
        raise ConfigError(f"tar ended with status {tar.returncode}", "a readable tree")
    return client.images.get(BASE)


def _with_site_files(client: docker.DockerClient, site: Site) -> Image:
    say(f"adding this site's package settings to {BASE}")
    files = site.files()
    dockerfile = f"FROM {BASE}\nLABEL {LABEL}={site.fingerprint()}\nADD site.tar /\n"
    context = {"Dockerfile": dockerfile.encode(), "site.tar": archive(files)}
    return build(client, archive(context), BASE)


def main(argv: Sequence[str]) -> int:
    """Run ``ci/base_image``."""
    argparse.ArgumentParser(
        prog="ci/base_image",
        description=f"Provide {BASE}: present, pulled, or made by debootstrap, with "
        "the mirror, index and CA settings of this site (see ci/README.md).",
    ).parse_args(argv)
    client = ensure()
    image = ensure_base(client, Site.of(os.environ))
    say(f"{BASE} is {image.short_id}")
    return 0
