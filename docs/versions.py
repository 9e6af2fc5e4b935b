"""Put a site beside those of other versions: versions.py BUILT SITE VERSION ADDRESS.

ADDRESS is where the site is published, with a / at its end.

SITE has a folder for each version, ``switcher.json`` with all of them for the theme's
list, and an ``index.html`` that leads to the newest release, or to ``dev``.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

_VERSION = re.compile(r"v\d+(\.\d+)*|dev")


def put(built: Path, site: Path, version: str, address: str) -> None:
    """Put the pages of one version into the site."""
    if not _VERSION.fullmatch(version):
        sys.exit(f"{version!r} is no version: v1.2.3 or dev")
    folder = site / version
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built, folder)
    # Pages of GitHub hide names that begin with _ otherwise.
    (site / ".nojekyll").touch()
    there = versions(site)
    newest = there[0]
    rows = [
        {"version": name, "url": f"{address}{name}/", "preferred": name == newest}
        for name in there
    ]
    (site / "switcher.json").write_text(json.dumps(rows, indent=1) + "\n")
    (site / "index.html").write_text(
        f'<!doctype html><meta http-equiv="refresh" content="0; url={newest}/">\n'
    )


def versions(site: Path) -> list[str]:
    """Return the versions that are there: releases, the newest first, then dev."""
    names = [path.name for path in site.iterdir() if _VERSION.fullmatch(path.name)]
    return sorted(names, key=_order, reverse=True)


def _order(name: str) -> list[int]:
    return [] if name == "dev" else [int(part) for part in name[1:].split(".")]


if __name__ == "__main__":
    put(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
