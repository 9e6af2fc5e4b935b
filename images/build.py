"""``images/build image | sif [ROW]``: what ``make image`` and ``make sif`` call."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from ci.docker_engine import ensure, say
from images.docker_image import build_image
from images.sif import build_sif
from images.table import row, rows

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str]) -> int:
    """Build the image of a row, and its SIF if asked for."""
    default = next(row.name for row in rows().values() if row.default)
    parser = argparse.ArgumentParser(
        prog="images/build",
        description="Build a Docker image of images/images.toml, and the SIF of it.",
    )
    parser.add_argument("what", choices=("image", "sif"))
    parser.add_argument("row", nargs="?", default=default, help="of images.toml")
    options = parser.parse_args(argv)

    wanted = row(options.row)
    client = ensure()
    start = time.monotonic()
    image = build_image(client, wanted)
    size = image.attrs["Size"] / 1e6
    seconds = time.monotonic() - start
    say(f"{wanted.tag} is {image.short_id}: {size:.0f} MB, {seconds:.0f} s")
    if options.what == "sif":
        say(f"{build_sif(client, image, wanted)} is ready")
    return 0
