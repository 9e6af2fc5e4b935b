"""List the packages in an image, the distribution's and Python's, as JSON.

Runs inside the image and imports nothing but the standard library.
"""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import distributions

# ${source:...} says what a security advisory names.
MPI = "/opt/mpi/lib/python3.13/site-packages"
QUERY = "${Package}\t${Version}\t${Architecture}\t${source:Package}\n"


def packages() -> dict[str, object]:
    """Return name and version of each package, by kind."""
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", QUERY], capture_output=True, text=True, check=True
    )
    return {
        "release": platform.freedesktop_os_release(),
        "deb": [line.split("\t") for line in done.stdout.splitlines()],
        "wheel": sorted((one.name, one.version) for one in distributions()),
        # MPI's wheels lie in a prefix of their own.
        "mpi": sorted((one.name, one.version) for one in distributions(path=[MPI])),
    }


if __name__ == "__main__":
    print(json.dumps(packages()))  # noqa: T201 - its result
