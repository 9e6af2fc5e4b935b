"""uv's settings, and pip's in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_runner.packages.settings import decisive, of_uv

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An account without any settings."""
    return {
        "HOME": str(tmp_path / "home"),
        "XDG_CONFIG_DIRS": str(tmp_path / "etc"),
        "PIP_CONFIG_FILE": str(tmp_path / "none"),
    }


def pip_file(tmp_path: Path, text: str, place: str = "home/.config") -> None:
    path = tmp_path / place / "pip" / "pip.conf"
    path.parent.mkdir(parents=True)
    path.write_text(text)


PIP = """\
[global]
index-url = https://mirror/simple
extra-index-url = https://a/simple
    https://b/simple
find-links = /wheels /more
trusted-host = mirror
cert = /etc/site.pem
"""


def test_what_a_site_has_told_pip_is_told_to_uv(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    # The last file counts most, whatever this machine has.
    (tmp_path / "none").write_text(PIP)
    found = of_uv(environ)

    assert (
        found
        | {
            "UV_DEFAULT_INDEX": "https://mirror/simple",
            "UV_INDEX": "https://a/simple https://b/simple",
            "UV_INDEX_STRATEGY": "unsafe-best-match",
            "UV_FIND_LINKS": "/wheels,/more",
            "UV_INSECURE_HOST": "mirror",
            "SSL_CERT_FILE": "/etc/site.pem",
        }
        == found
    )


@pytest.mark.parametrize(
    ("name", "value", "variable", "becomes"),
    [
        ("PIP_INDEX_URL", "https://x", "UV_DEFAULT_INDEX", "https://x"),
        ("PIP_NO_INDEX", "1", "UV_NO_INDEX", "1"),
        ("PIP_NO_INDEX", "false", "UV_NO_INDEX", None),
        ("PIP_FIND_LINKS", "/a /b", "UV_FIND_LINKS", "/a,/b"),
        ("PIP_CONSTRAINT", "/c.txt", "UV_CONSTRAINT", "/c.txt"),
        ("PIP_CERT", "/ca.pem", "SSL_CERT_FILE", "/ca.pem"),
        ("REQUESTS_CA_BUNDLE", "/ca.pem", "SSL_CERT_FILE", "/ca.pem"),
    ],
)
def test_pips_variables_count_before_its_files(
    tmp_path: Path,
    environ: dict[str, str],
    name: str,
    value: str,
    variable: str,
    becomes: str | None,
) -> None:
    if name != "REQUESTS_CA_BUNDLE" and becomes is not None:
        option = name.removeprefix("PIP_").lower().replace("_", "-")
        pip_file(tmp_path, f"[global]\n{option} = /other\n")

    assert of_uv(environ | {name: value}).get(variable) == becomes


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_uvs_own_variables_count_before_pips(
    environ: dict[str, str], variable: str
) -> None:
    told = {variable: "https://own", "PIP_INDEX_URL": "https://pip"}
    found = of_uv(environ | told)

    assert found[variable] == "https://own"
    assert found.get("UV_DEFAULT_INDEX") != "https://pip"


def test_certificates_of_uv_count_before_pips(environ: dict[str, str]) -> None:
    told = {"SSL_CERT_FILE": "/own.pem", "PIP_CERT": "/pip.pem"}

    assert of_uv(environ | told)["SSL_CERT_FILE"] == "/own.pem"


def test_no_file_of_uv_is_looked_for_above_the_working_directory(
    environ: dict[str, str],
) -> None:
    assert of_uv(environ)["UV_NO_CONFIG"] == "1"


@pytest.mark.parametrize("place", ["home/.config", "etc"])
def test_the_users_own_file_of_uv_or_the_systems_counts_alone(
    tmp_path: Path, environ: dict[str, str], place: str
) -> None:
    path = tmp_path / place / "uv" / "uv.toml"
    path.parent.mkdir(parents=True)
    path.touch()
    found = of_uv(environ | {"PIP_INDEX_URL": "https://pip"})

    assert found["UV_CONFIG_FILE"] == str(path)
    assert not {"UV_NO_CONFIG", "UV_DEFAULT_INDEX"} & found.keys()


def test_a_file_of_pip_that_cannot_be_read_is_pips_business(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    pip_file(tmp_path, "no section\n")

    assert "UV_DEFAULT_INDEX" not in of_uv(environ)


def test_pip_can_be_told_to_read_no_file(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    pip_file(tmp_path, PIP)

    found = of_uv(environ | {"PIP_CONFIG_FILE": "/dev/null"})

    assert "UV_DEFAULT_INDEX" not in found


def test_a_time_limit_or_a_proxy_decides_nothing_about_packages() -> None:
    told = {"UV_HTTP_TIMEOUT": "9", "https_proxy": "http://p", "UV_NO_INDEX": "1"}

    assert decisive(told) == {"UV_NO_INDEX": "1"}
