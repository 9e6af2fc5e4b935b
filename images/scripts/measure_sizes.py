"""Say what takes the space in an image: its packages, by bytes, as JSON.

Runs inside the image and imports nothing but the standard library. A file belongs
to the package that installed it, be it the distribution's or Python's; bytecode to
its module; what nobody owns to the folder that it lies in.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from importlib.metadata import distributions
from pathlib import Path

DPKG = Path("/var/lib/dpkg/info")
# Not the image's: the kernel's, the engine's, and what is mounted.
NOT_OURS = {"/proc", "/sys", "/dev", "/work", "/tmp"}  # noqa: S108 - not to be used
DEPTH = 3


def sizes() -> Counter[str]:
    """Return the bytes of each package."""
    owners = {**_system(), **_python()}
    found: Counter[str] = Counter()
    for path, size in _files():
        found[owners.get(path) or owners.get(_source(path)) or _folder(path)] += size
    return found


def _system() -> dict[str, str]:
    owners = {}
    for listing in DPKG.glob("*.list"):
        name = listing.stem.partition(":")[0]
        for line in listing.read_text().splitlines():
            # Merged since trixie: /lib is /usr/lib, and packages still say both.
            folder, _, rest = line.lstrip("/").partition("/")
            owners[os.path.realpath(f"/{folder}") + f"/{rest}"] = f"{name} (deb)"
    return owners


def _python() -> dict[str, str]:
    return {
        os.path.normpath(str(one.locate_file(file))): f"{one.name} (wheel)"
        for one in distributions()
        for file in one.files or ()
    }


def _files() -> list[tuple[str, int]]:
    found = []
    for folder, folders, files in os.walk("/"):
        folders[:] = [one for one in folders if f"{folder}{one}" not in NOT_OURS]
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118 - a hundred thousand
            status = os.lstat(path)
            # A file of several names counts once.
            found.append((path, status.st_size // status.st_nlink))
    return found


def _source(path: str) -> str:
    folder, _, name = path.rpartition("/__pycache__/")
    return f"{folder}/{name.partition('.')[0]}.py" if folder else path


def _folder(path: str) -> str:
    return "/".join(path.split("/")[: DEPTH + 1])


if __name__ == "__main__":
    print(json.dumps(sizes()))  # noqa: T201 - its result
