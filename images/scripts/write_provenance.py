"""Write where an image comes from, for a definition file, which has it as arguments.

``write_provenance.py FILE NAME=VALUE...`` writes what is not empty to a file, and
prints it as Apptainer takes labels. ``base=debian:trixie-slim@sha256:...`` is the base
image, of which the digest counts. images/provenance.py finds out the same for Docker.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

PREFIX = "org.opencontainers.image."


def main(file: str, *words: str) -> None:
    """Write the file, and print the labels."""
    given = dict(word.split("=", 1) for word in words)
    given["base.digest"] = given.pop("base", "").partition("@")[2]
    known = {f"{PREFIX}{name}": value for name, value in given.items() if value}
    text = json.dumps(known, indent=2, sort_keys=True)
    Path(file).write_text(text + "\n")
    for label in known.items():
        sys.stdout.write(" ".join(label) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
