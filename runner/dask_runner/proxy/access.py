"""Who may pass: the token in the link, then a cookie; and no page of somebody else.

A Prometheus server has a token of its own, which it sends with each request.

A port on loopback is open to every account of the machine, and to every web page in
the user's browser. So each request needs a secret, and has to come from a page of this
proxy, or from none. On a Unix socket, which its owner alone can open, the second rule
counts alone.

A browser sends the cookies of a host to all its ports, so the server of another account
may learn the cookie. That is why the proxy also asks the kernel who has connected
(:mod:`dask_runner.proxy.peers`).
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Hosts of a link to loopback. Under any other name (DNS rebinding) the browser takes
#: the proxy for a site of somebody else.
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?")
#: The page to which a link without one leads.
FIRST_PAGE = "/status"
#: The page of a Prometheus server.
METRICS_PAGE = "/metrics"

_TOKEN = "token"  # noqa: S105  its name in the link
_READS = ("GET", "HEAD")
#: What a browser says of requests that begin at a page of another origin (Fetch
#: Metadata).
_ELSEWHERE = ("cross-site", "same-site")


@dataclass(frozen=True, slots=True)
class Entered:
    """The request has the token: the browser gets the cookie, and is sent on."""

    location: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Passed:
    """The request may pass."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of one proxy, at a port.

    Attributes
    ----------
    token : str
        In the link.
    cookie : str
        What a browser keeps instead, so that the token stays out of its links.
    port : int
    scrapers : str
        The token of a Prometheus server, for the metrics alone; empty for none.
    """

    token: str = field(repr=False)
    cookie: str = field(repr=False)
    port: int
    scrapers: str = field(default="", repr=False)

    @classmethod
    def new(cls, port: int, scrapers: str = "") -> Secrets:
        """Return secrets that nobody can guess."""
        token, cookie = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        return cls(token, cookie, port, scrapers)

    @property
    def cookie_name(self) -> str:
        """The cookie's name: browsers send the cookies of all ports of a host."""
        return f"dask-runner-{self.port}"

    @property
    def link(self) -> str:
        """The link for the user, with the token."""
        query = urlencode({_TOKEN: self.token})
        return f"http://127.0.0.1:{self.port}{FIRST_PAGE}?{query}"


def judge(
    own: Secrets | None, method: str, target: str, headers: Mapping[str, str]
) -> Passed | Entered | None:
    """Return whether a request may pass; None if it may not.

    Parameters
    ----------
    own : Secrets or None
        None for a Unix socket.
    method, target : str
        Of the request's first line.
    headers : mapping
        Several of a name are one, with commas.
    """
    if not target.startswith("/") or not _is_of_this_proxy(method, headers):
        return None
    if own is None:
        return Passed()
    path, _, query = target.partition("?")
    words = parse_qsl(query, keep_blank_values=True)
    tokens = [value for name, value in words if name == _TOKEN]
    if tokens:
        if method not in _READS or not _same(tokens[0], own.token):
            return None
        rest = urlencode([word for word in words if word[0] != _TOKEN])
        # Two slashes would lead to another host.
        page = "/" + path.lstrip("/\\")
        page = FIRST_PAGE if page == "/" else page
        return Entered(f"{page}?{rest}" if rest else page, _cookie(own))
    if method in _READS and path == METRICS_PAGE and own.scrapers:
        scheme, _, credentials = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(credentials.strip(), own.scrapers):
            return Passed()
    given = _cookies(headers.get("Cookie", ""), own.cookie_name)
    return Passed() if any(_same(one, own.cookie) for one in given) else None


def _is_of_this_proxy(method: str, headers: Mapping[str, str]) -> bool:
    host = headers.get("Host", "").lower()
    if not LOOPBACK.fullmatch(host):
        return False
    origin = headers.get("Origin")
    if origin is not None and origin.lower() != f"http://{host}":
        return False
    if headers.get("Sec-Fetch-Site") not in _ELSEWHERE:
        return True
    # A link on another page leads here, and that page reads nothing.
    return (
        method == "GET"
        and headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document"
    )


def _cookie(own: Secrets) -> str:
    return f"{own.cookie_name}={own.cookie}; HttpOnly; SameSite=Strict; Path=/"


def _cookies(header: str, name: str) -> list[str]:
    # All of the name: servers at other ports may set some too.
    each = (one.partition("=") for one in header.split(";"))
    return [value.strip() for key, _, value in each if key.strip() == name]


def _same(given: str, own: str) -> bool:
    return hmac.compare_digest(given.encode(), own.encode())
