"""Which requests pass the proxy of the dashboard."""

from __future__ import annotations

import pytest

from dask_runner.proxy.access import Entered, Passed, Secrets, judge

OWN = Secrets("the-token", "the-cookie", 8787)
HOST = {"Host": "127.0.0.1:8787"}
COOKIE = HOST | {"Cookie": "dask-runner-8787=the-cookie"}


def passes(
    headers: dict[str, str], target: str = "/status", method: str = "GET"
) -> bool:
    return isinstance(judge(OWN, method, target, headers), Passed)


def test_the_token_in_the_link_becomes_a_cookie_and_leaves_the_link() -> None:
    _, _, target = OWN.link.removeprefix("http://").partition("/")

    entered = judge(OWN, "GET", f"/{target}", HOST)

    assert entered == Entered(
        "/status",
        "dask-runner-8787=the-cookie; HttpOnly; SameSite=Strict; Path=/",
    )


@pytest.mark.parametrize(
    ("target", "page"),
    [
        ("/?token=the-token", "/status"),
        ("/workers?token=the-token", "/workers"),
        ("/graph?theme=dark&token=the-token&x=", "/graph?theme=dark&x="),
        # A browser would take these for other hosts.
        ("//somebody.example/?token=the-token", "/somebody.example/"),
        ("/\\somebody.example/?token=the-token", "/somebody.example/"),
    ],
)
def test_the_link_leads_to_its_page_of_this_host(target: str, page: str) -> None:
    entered = judge(OWN, "GET", target, HOST)

    assert isinstance(entered, Entered)
    assert entered.location == page


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/status?token=another"),
        ("GET", "/status?token="),
        ("GET", "/status?token=the-cookie"),
        ("GET", "/status?token=tök%ff"),
        ("GET", "/status?token=another&token=the-token"),
        ("GET", "/status"),
        ("GET", "http://127.0.0.1:8787/status?token=the-token"),
        ("POST", "/status?token=the-token"),
        ("OPTIONS", "*"),
    ],
)
def test_nothing_else_enters(method: str, target: str) -> None:
    assert judge(OWN, method, target, HOST) is None


def test_the_cookie_passes_for_all_methods() -> None:
    assert passes(COOKIE)
    assert passes(COOKIE, "/anything?x=1")
    assert passes(COOKIE, method="POST")


@pytest.mark.parametrize(
    ("cookies", "good"),
    [
        ("a=b; dask-runner-8787=the-cookie;c", True),
        # Another server of this host has set one of the same name.
        ("dask-runner-8787=x; dask-runner-8787=the-cookie", True),
        ("dask-runner-8788=the-cookie", False),
        ("dask-runner-8787=the-token", False),
        ("dask-runner-8787=", False),
        ("dask-runner-8787=ü", False),
        ("", False),
    ],
)
def test_the_cookie_is_the_one_of_this_port(cookies: str, good: bool) -> None:
    assert passes(HOST | {"Cookie": cookies}) is good


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("127.0.0.1:8787", True),
        ("localhost:8787", True),
        ("LOCALHOST", True),
        ("[::1]:9999", True),  # of a tunnel
        ("somebody.example:8787", False),
        ("127.0.0.1.somebody.example", False),
        ("somebody@127.0.0.1", False),
        ("127.0.0.1:8787,somebody.example", False),
        ("localhost/x", False),
        ("", False),
    ],
)
def test_a_name_that_somebody_else_has_led_here_does_not_pass(
    host: str, good: bool
) -> None:
    assert passes(COOKIE | {"Host": host}) is good


def test_a_request_without_a_host_does_not_pass() -> None:
    assert not passes({"Cookie": COOKIE["Cookie"]})


@pytest.mark.parametrize(
    ("origin", "good"),
    [
        ("http://127.0.0.1:8787", True),
        # Servers of other accounts, which have the browser send the cookie.
        ("http://127.0.0.1:9999", False),
        ("http://127.0.0.1", False),
        ("http://localhost:8787", False),
        ("https://somebody.example", False),
        ("null", False),
    ],
)
def test_a_page_of_another_origin_cannot_use_the_cookie(
    origin: str, good: bool
) -> None:
    assert passes(COOKIE | {"Origin": origin}) is good


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_page_elsewhere_may_link_here_and_nothing_more(site: str) -> None:
    link = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    seen = COOKIE | {"Sec-Fetch-Site": site}

    assert passes(seen | link)
    assert not passes(seen | link, method="POST")
    assert not passes(seen | link | {"Sec-Fetch-Dest": "iframe"})
    assert not passes(seen | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"})
    assert passes(COOKIE | {"Sec-Fetch-Site": "same-origin"})
    assert passes(COOKIE | {"Sec-Fetch-Site": "none"})


def test_a_socket_needs_no_token_and_passes_no_page_of_somebody_else() -> None:
    assert judge(None, "GET", "/lab/status", {"Host": "localhost"}) == Passed()
    assert judge(None, "GET", "/", {"Host": "somebody.example"}) is None
    other = {"Host": "localhost:8787", "Origin": "https://somebody.example"}
    assert judge(None, "GET", "/", other) is None


def test_secrets_are_new_each_time_and_long() -> None:
    one, other = Secrets.new(1), Secrets.new(1)

    assert len({one.token, one.cookie, other.token, other.cookie}) == 4
    assert min(len(one.token), len(one.cookie)) >= 43
    assert one.cookie not in one.link
    assert one.token not in repr(one)
    assert one.cookie not in repr(one)


SCRAPED = Secrets("the-token", "the-cookie", 8787, "the-scrapers")


@pytest.mark.parametrize(
    ("authorization", "target", "method", "passes"),
    [
        ("Bearer the-scrapers", "/metrics", "GET", True),
        ("bearer the-scrapers", "/metrics?x=1", "HEAD", True),
        # It is for the metrics alone, and the other secrets are not for them.
        ("Bearer the-scrapers", "/status", "GET", False),
        ("Bearer the-scrapers", "/metrics/../status", "GET", False),
        ("Bearer the-scrapers", "/metrics", "POST", False),
        ("Bearer the-token", "/metrics", "GET", False),
        ("Bearer the-cookie", "/metrics", "GET", False),
        ("Bearer ", "/metrics", "GET", False),
        ("Basic the-scrapers", "/metrics", "GET", False),
        ("the-scrapers", "/metrics", "GET", False),
    ],
)
def test_a_prometheus_server_has_a_token_for_the_metrics(
    authorization: str, target: str, method: str, passes: bool
) -> None:
    headers = HOST | {"Authorization": authorization}

    assert isinstance(judge(SCRAPED, method, target, headers), Passed) == passes
    assert judge(OWN, method, target, headers) is None


def test_no_token_of_a_prometheus_server_is_none_and_not_an_empty_one() -> None:
    assert judge(OWN, "GET", "/metrics", HOST | {"Authorization": "Bearer "}) is None
    elsewhere = {"Host": "x.example", "Authorization": "Bearer the-scrapers"}
    assert judge(SCRAPED, "GET", "/metrics", elsewhere) is None


def test_no_secret_is_in_its_text() -> None:
    assert "the-" not in repr(SCRAPED)
