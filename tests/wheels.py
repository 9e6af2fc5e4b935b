"""Wheels that tests make, so that what resolves packages needs no network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: The entry points of a package with a program.
_PROGRAM = "[console_scripts]\n{name} = {name}:main\n"


def wheel(
    directory: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
    program: bool = False,
) -> Path:
    """Make a wheel of one module, which has its version and a ``main``.

    *files* are more files, by their names.
    """
    code = f"VERSION = {version!r}\n\n\ndef main():\n    print({name!r}, VERSION)\n"
    about = f"{name}-{version}.dist-info"
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    contents = {
        f"{name}/__init__.py": code,
        f"{about}/METADATA": "\n".join(metadata) + "\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        **(files or {}),
    }
    if program:
        contents[f"{about}/entry_points.txt"] = _PROGRAM.format(name=name)
    rows = [f"{path},{_digest(text)},{len(text)}" for path, text in contents.items()]
    contents[f"{about}/RECORD"] = "\n".join([*rows, f"{about}/RECORD,,"]) + "\n"
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for place, text in contents.items():
            file.writestr(place, text)
    return path


def _digest(text: str) -> str:
    found = hashlib.sha256(text.encode()).digest()
    return f"sha256={base64.urlsafe_b64encode(found).rstrip(b'=').decode()}"
