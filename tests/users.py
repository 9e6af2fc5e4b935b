"""Users for the tests of what a user may do and root may not be refused."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def ordinary() -> Iterator[Path]:
    """Be an ordinary user, with a directory of its own.

    Root is nobody meanwhile; everybody else is an ordinary user already.
    """
    directory = Path(tempfile.mkdtemp(prefix="user-"))
    root = os.geteuid() == 0
    if root:
        os.chown(directory, NOBODY, NOBODY)
        # The real one as well, which access(2) asks for; the saved one leads back.
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield directory
    finally:
        if root:
            os.setresuid(0, 0, 0)
        directory.chmod(0o700)
        shutil.rmtree(directory)
