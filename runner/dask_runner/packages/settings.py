"""The resolver's settings: uv's own, and pip's where a site has set only these.

Sites tell pip where packages come from, by variables and files that uv does not read.
"""

from __future__ import annotations

import configparser
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Where pip's setting counts if none of uv's variables is set: the name of pip's, the
#: first of uv's, what separates its values, and others of uv's that mean the same.
_FROM_PIP = (
    ("index-url", "UV_DEFAULT_INDEX", " ", ("UV_INDEX_URL",)),
    ("extra-index-url", "UV_INDEX", " ", ("UV_EXTRA_INDEX_URL",)),
    ("find-links", "UV_FIND_LINKS", ",", ()),
    ("constraint", "UV_CONSTRAINT", " ", ()),
    ("no-index", "UV_NO_INDEX", " ", ()),
    ("trusted-host", "UV_INSECURE_HOST", " ", ()),
)

#: What decides which packages are found; other variables, such as a time limit, do not.
_DECISIVE = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX_STRATEGY",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_CONFIG_FILE",
    "UV_EXCLUDE_NEWER",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
    "UV_NO_BINARY",
    "UV_NO_BINARY_PACKAGE",
    "UV_NO_BUILD",
    "UV_NO_BUILD_PACKAGE",
    "UV_TORCH_BACKEND",
)

_FALSE = frozenset({"", "0", "false", "no", "off"})


def decisive(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables among these that decide which packages are found."""
    return {name: variables[name] for name in _DECISIVE if variables.get(name)}


def of_uv(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for uv.

    uv would also read ``uv.toml`` in each directory above the working directory, where
    another account may have left one. Only the user's own and the system's count.
    """
    found = dict(environ)
    own = _first(_uv_files(environ))
    if own is not None:
        found["UV_CONFIG_FILE"] = str(own)
    else:
        found["UV_NO_CONFIG"] = "1"
        found |= _from_pip(environ)
    if not environ.get("SSL_CERT_FILE"):
        if bundle := _bundle(environ):
            found["SSL_CERT_FILE"] = bundle
        elif _has_certificates():
            # As pip does; uv has certificates of its own, and no site's.
            found.setdefault("UV_SYSTEM_CERTS", "1")
    return found


def _has_certificates() -> bool:
    """Return whether this system trusts some authorities; a bare container may not."""
    places = ssl.get_default_verify_paths()
    directory = Path(places.capath or os.devnull)
    return places.cafile is not None or (
        directory.is_dir() and any(directory.iterdir())
    )


def no_index(variables: Mapping[str, str]) -> bool:
    """Return whether only directories of wheels count, and no index."""
    # uv has an option for it, and no variable.
    return variables.get("UV_NO_INDEX", "").lower() not in _FALSE


def _bundle(environ: Mapping[str, str]) -> str:
    """Return the file of certificates that pip, or requests, was told to trust."""
    told = environ.get("PIP_CERT") or environ.get("REQUESTS_CA_BUNDLE")
    return told or _pip_files(environ).get("cert", "")


def _uv_files(environ: Mapping[str, str]) -> Iterator[Path]:
    if named := environ.get("UV_CONFIG_FILE"):
        yield Path(named)
    for place in (_config_home(environ), *_system(environ)):
        if place is not None:
            yield place / "uv" / "uv.toml"
    yield Path("/etc/uv/uv.toml")


def _from_pip(environ: Mapping[str, str]) -> dict[str, str]:
    """Return uv's variables for what only pip was told."""
    files = _pip_files(environ)
    found: dict[str, str] = {}
    for name, variable, separator, others in _FROM_PIP:
        if any(environ.get(one) for one in (variable, *others)):
            continue
        told = environ.get(f"PIP_{name.replace('-', '_').upper()}", files.get(name, ""))
        if name == "no-index":
            told = "" if told.lower() in _FALSE else "1"
        if values := told.split():
            found[variable] = separator.join(values)
    if "UV_INDEX" in found and not environ.get("UV_INDEX_STRATEGY"):
        # pip looks at all of its indexes, uv at the first that has a package.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def _pip_files(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what pip's files say; later files count more, as to pip."""
    found: dict[str, str] = {}
    for path in _pip_places(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)
        except (OSError, configparser.Error, UnicodeDecodeError):
            continue  # it is pip's business
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {k.replace("_", "-"): v for k, v in parser.items(section)}
    return found


def _pip_places(environ: Mapping[str, str]) -> Iterator[Path]:
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return
    for place in reversed(_system(environ)):
        yield place / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    if home := environ.get("HOME"):
        yield Path(home) / ".pip" / "pip.conf"
    if (own := _config_home(environ)) is not None:
        yield own / "pip" / "pip.conf"
    if venv := environ.get("VIRTUAL_ENV"):
        yield Path(venv) / "pip.conf"
    if named:
        yield Path(named)


def _config_home(environ: Mapping[str, str]) -> Path | None:
    if own := environ.get("XDG_CONFIG_HOME"):
        return Path(own)
    return Path(environ["HOME"]) / ".config" if environ.get("HOME") else None


def _system(environ: Mapping[str, str]) -> list[Path]:
    found = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    return [Path(one) for one in found.split(os.pathsep) if one]


def _first(paths: Iterator[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
