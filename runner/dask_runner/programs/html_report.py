"""Dask's performance report of the user's program: ``--report FILE.html``."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import performance_report
from distributed.comm import CommClosedError

from dask_runner.hub.report import say
from dask_runner.hub.report_files import ReportFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_runner.launch.launch import Program

GONE = "the cluster is gone"


@contextlib.contextmanager
def reported(client: Any, path: Path, code: str) -> Iterator[None]:
    """Write Dask's report at the end of the program, however it ends.

    Parameters
    ----------
    client : distributed.Client
    path : Path
        The report's file. What is there stays until the report is whole.
    code : str
        What the report shows as the code that has run.
    """
    file = ReportFile(path.absolute(), ".html")
    report = performance_report()
    with client.as_current():
        report.__enter__()
    try:
        yield
    finally:
        if trouble := _trouble_of_writing(client, report, code, file):
            say(f"warning: --report {path} was not written: {trouble}")


def _trouble_of_writing(
    client: Any, report: performance_report, code: str, file: ReportFile
) -> str:
    async def write() -> None:
        # A client that loses the cluster is closed in this thread: nothing comes
        # between this look at it and its use.
        if client.status != "running":
            raise ConnectionError(GONE)
        await report.__aexit__(None, None, None, code=code)

    if client.status != "running":  # its thread may have ended, too
        return GONE
    try:
        with client.as_current(), file.replaced() as descriptor:
            # Dask opens it by its name.
            report.filename = f"/proc/self/fd/{descriptor}"
            client.sync(write)
    except CommClosedError:
        return GONE
    except (OSError, TimeoutError, ValueError) as error:
        return str(error) or type(error).__name__  # some errors have no words
    return ""


def source(program: Program, text: str | None) -> str:
    """Return the code of a program, or its name where it is more than one file.

    Parameters
    ----------
    program : Program
    text : str or None
        What the top process has read, in base64.
    """
    if program.kind == "code":
        return program.target
    path = Path(program.target)
    try:
        if text is not None:
            return importlib.util.decode_source(base64.b64decode(text))
        if program.kind == "script" and path.is_file():
            return importlib.util.decode_source(path.read_bytes())
    except (OSError, SyntaxError, UnicodeDecodeError):
        pass  # an archive, or Python will tell what is wrong with it
    return program.target
