"""Attach a file to what was pushed: an OCI artifact that refers to it.

As the OCI distribution specification (1.1) has it: a manifest with a ``subject``. A
registry that knows these lists them itself; for one that does not, the list is an
index under a tag made of the subject's digest. ``oras discover`` reads both.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from docker.auth import load_config

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from images.registry import Registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFESTS = f"{MANIFEST}, {INDEX}, application/vnd.docker.distribution.manifest.v2+json"
#: The specification's config of an artifact that has none.
EMPTY, EMPTY_TYPE = b"{}", "application/vnd.oci.empty.v1+json"
CYCLONEDX = "application/vnd.cyclonedx+json"

SECONDS = 60
ABSENT = 404
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class File:
    """What is attached: a name, a media type, and the content."""

    name: str
    type: str
    content: bytes


class Repository:
    """One repository of a registry, over HTTP.

    Parameters
    ----------
    registry : Registry
    kind : str
        "image" or "sif".
    """

    def __init__(self, registry: Registry, kind: str) -> None:
        self._name = registry.repository(kind)
        host, _, path = self._name.partition("/")
        scheme = "http" if registry.plain else "https"
        self._origin = f"{scheme}://{host}"
        self._base = f"{self._origin}/v2/{path}"
        self._basic = _login(registry, host)
        self._session = requests.Session()

    def attach(self, digest: str, file: File) -> str:
        """Attach a file to the manifest of a digest; return the artifact's digest.

        Raises
        ------
        ConfigError
            The registry refuses, or is not there.
        """
        subject = self._describe(digest)
        artifact = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": file.type,
            "config": self._upload(EMPTY, EMPTY_TYPE),
            "layers": [
                self._upload(file.content, file.type)
                | {"annotations": {"org.opencontainers.image.title": file.name}}
            ],
            "subject": subject,
        }
        text = json.dumps(artifact).encode()
        found = _descriptor(text, MANIFEST) | {"artifactType": file.type}
        answer = self._put(found["digest"], text, MANIFEST)
        if answer.headers.get("OCI-Subject") != digest:
            self._list(digest, found)
        return str(found["digest"])

    def attached(self, digest: str, kind: str) -> list[bytes]:
        """Return the files of a media type that are attached to a digest."""
        answer = self._ask("GET", f"/referrers/{digest}", {"Accept": INDEX}, {ABSENT})
        if answer.status_code == ABSENT:
            answer = self._ask(
                "GET", f"/manifests/{_tag(digest)}", {"Accept": INDEX}, {ABSENT}
            )
        listed = {} if answer.status_code == ABSENT else answer.json()
        files = []
        for each in listed.get("manifests", ()):
            if each.get("artifactType") == kind:
                where = f"/manifests/{each['digest']}"
                artifact = self._ask("GET", where, {"Accept": MANIFEST}).json()
                blob = artifact["layers"][0]["digest"]
                files.append(self._ask("GET", f"/blobs/{blob}").content)
        return files

    def _list(self, digest: str, artifact: dict[str, Any]) -> None:
        where = f"/manifests/{_tag(digest)}"
        answer = self._ask("GET", where, {"Accept": INDEX}, {ABSENT})
        known = [] if answer.status_code == ABSENT else answer.json()["manifests"]
        # One of a kind: the next release of the same image takes its place.
        kept = [
            one for one in known if one.get("artifactType") != artifact["artifactType"]
        ]
        index = {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [*kept, artifact],
        }
        self._put(_tag(digest), json.dumps(index).encode(), INDEX)

    def _describe(self, digest: str) -> dict[str, Any]:
        answer = self._ask("GET", f"/manifests/{digest}", {"Accept": MANIFESTS})
        kind = answer.headers["Content-Type"]
        return {"mediaType": kind, "digest": digest, "size": len(answer.content)}

    def _upload(self, content: bytes, kind: str) -> dict[str, Any]:
        found = _descriptor(content, kind)
        digest = found["digest"]
        there = self._ask("HEAD", f"/blobs/{digest}", may={ABSENT})
        if there.status_code == ABSENT:
            place = self._ask("POST", "/blobs/uploads/").headers["Location"]
            mark = "&" if "?" in place else "?"
            self._ask(
                "PUT",
                f"{place}{mark}digest={digest}",
                {"Content-Type": "application/octet-stream"},
                data=content,
            )
        return found

    def _put(self, reference: str, text: bytes, kind: str) -> requests.Response:
        where = f"/manifests/{reference}"
        return self._ask("PUT", where, {"Content-Type": kind}, data=text)

    def _ask(
        self,
        method: str,
        place: str,
        headers: dict[str, str] | None = None,
        may: frozenset[int] | set[int] = frozenset(),
        data: bytes | None = None,
    ) -> requests.Response:
        url = place if "://" in place else f"{self._base}{place}"
        if place.startswith("/v2/"):
            url = f"{self._origin}{place}"
        try:
            answer = self._session.request(
                method, url, headers=headers, data=data, timeout=SECONDS
            )
            if answer.status_code == UNAUTHORIZED:
                self._log_in(answer.headers.get("WWW-Authenticate", ""))
                answer = self._session.request(
                    method, url, headers=headers, data=data, timeout=SECONDS
                )
        except requests.RequestException as error:
            raise self._refused(method, url, str(error)) from None
        if not answer.ok and answer.status_code not in may:
            raise self._refused(method, url, f"{answer.status_code} {answer.reason}")
        return answer

    def _log_in(self, challenge: str) -> None:
        """Do what a registry asks for: a password, or a token for it (RFC 6750)."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() != "bearer":
            self._session.auth = self._basic
            return
        told = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        asked = {name: told[name] for name in ("service", "scope") if name in told}
        # Without what was given before, for less.
        self._session.headers.pop("Authorization", None)
        answer = self._session.get(
            told.get("realm", ""), params=asked, auth=self._basic, timeout=SECONDS
        )
        if answer.ok:
            token = answer.json().get("token") or answer.json().get("access_token")
            self._session.headers["Authorization"] = f"Bearer {token}"

    def _refused(self, method: str, url: str, why: str) -> ConfigError:
        return ConfigError(
            f"{method} {url}: {why}",
            f"a registry in which {self._name} may be written",
            "look at REGISTRY, REGISTRY_USER and REGISTRY_PASSWORD",
        )


def _login(registry: Registry, host: str) -> tuple[str, str] | None:
    """Return a name and its password: the given ones, or those of `docker login`."""
    if registry.user:
        return registry.user, registry.password
    stored = load_config().resolve_authconfig(host) or {}
    # A helper's have capitals.
    known = {str(key).lower(): value for key, value in stored.items()}
    if not known.get("username"):
        return None
    return known["username"], known["password"]


def _descriptor(content: bytes, kind: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _tag(digest: str) -> str:
    return digest.replace(":", "-")
