"""Run Apptainer, oras and cosign: this machine's, or those of a container."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from requests.exceptions import RequestException

from containers.cosign_image import ensure_cosign_image
from containers.engine import tail
from containers.node_image import ensure_slurm_image
from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import docker
    from docker.models.containers import Container

SECONDS = 600
# The ordinary user's, in the container.
FOLDER = "/home/user"
USER = 1000
#: The image that has a tool; the nodes' has the others.
IMAGES = {"cosign": ensure_cosign_image}


def apptainer(
    client: docker.DockerClient,
    command: Sequence[str],
    *,
    takes: Mapping[str, Path],
    gives: Mapping[str, Path] | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Run ``apptainer COMMAND``; see :func:`run`."""
    line = ["apptainer", *command]
    return run(client, line, takes=takes, gives=gives, environ=environ)


def run(
    client: docker.DockerClient,
    line: Sequence[str],
    *,
    takes: Mapping[str, Path],
    gives: Mapping[str, Path] | None = None,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Run a tool in a folder that has some files; return what it prints.

    Parameters
    ----------
    client : docker.DockerClient
        The engine, used if this machine has no such tool. Nothing is mounted, so it may
        be on another machine; loopback is then that machine's.
    line : sequence of str
        The tool and its arguments, which name files without a folder.
    takes : mapping of str to path
        Name in the folder → the file to copy there.
    gives : mapping of str to path, optional
        Name in the folder → the path to move it to if the tool succeeds.
    environ : mapping of str to str, optional
        More variables. Secrets belong here or in a file, not in the arguments.

    Raises
    ------
    ConfigError
        The tool failed; the message has the end of its output.
    """
    gives, environ = gives or {}, environ or {}
    if shutil.which(line[0]):
        status, output = _here(line, takes, gives, environ)
    else:
        status, output = _in_container(client, line, takes, gives, environ)
    if status:
        raise ConfigError(
            f"{line[0]} {line[1]} ended with status {status}\n{tail(output)}",
            f"{line[0]} with rights to do this",
            f"try it by hand: {' '.join(line)}",
        )
    return output


def _here(
    line: Sequence[str],
    takes: Mapping[str, Path],
    gives: Mapping[str, Path],
    environ: Mapping[str, str],
) -> tuple[object, str]:
    with tempfile.TemporaryDirectory(prefix="tool-") as directory:
        folder = Path(directory)
        for name, path in takes.items():
            shutil.copyfile(path, folder / name)
        try:
            done = subprocess.run(
                list(line),
                cwd=folder,
                env=os.environ | dict(environ),
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no end within {SECONDS} s", ""
        if not done.returncode:
            for name, path in gives.items():
                shutil.move(folder / name, path)
    return done.returncode, done.stdout + done.stderr * bool(done.returncode)


def _in_container(
    client: docker.DockerClient,
    line: Sequence[str],
    takes: Mapping[str, Path],
    gives: Mapping[str, Path],
    environ: Mapping[str, str],
) -> tuple[object, str]:
    container: Container = client.containers.create(
        IMAGES.get(line[0], ensure_slurm_image)(client),
        list(line[1:]),
        entrypoint=line[0],
        user="user",
        working_dir=FOLDER,
        environment={"HOME": FOLDER, **environ},
        # For a registry on this machine's loopback.
        network_mode="host",
    )
    try:
        with tempfile.TemporaryFile() as archive:
            _pack(takes, archive)
            # The SDK's stubs know bytes only; requests streams a file.
            container.put_archive(FOLDER, cast("bytes", archive))
        container.start()
        try:
            status: object = container.wait(timeout=SECONDS)["StatusCode"]
        except RequestException as error:
            return f"no end within {SECONDS} s ({error})", ""
        if not status:
            for name, path in gives.items():
                fetch(container, f"{FOLDER}/{name}", path)
        # Progress, on stderr, is no part of the answer.
        said = container.logs(stdout=True, stderr=bool(status))
        return status, said.decode(errors="replace")
    finally:
        container.remove(force=True, v=True)


def _pack(takes: Mapping[str, Path], archive: IO[bytes]) -> None:
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, path in takes.items():
            member = tar.gettarinfo(path, name)
            member.uid = member.gid = USER
            with path.open("rb") as file:
                tar.addfile(member, file)
    archive.seek(0)


def fetch(container: Container, source: str, path: Path) -> None:
    """Copy a file out of a container."""
    chunks, _ = container.get_archive(source)
    stream = io.BufferedReader(_Chunks(chunks))
    with tarfile.open(mode="r|", fileobj=stream) as tar, path.open("wb") as file:
        shutil.copyfileobj(cast("IO[bytes]", tar.extractfile(next(iter(tar)))), file)


class _Chunks(io.RawIOBase):
    """The chunks that the engine sends, as a file to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        piece = self._rest or next(self._chunks, b"")
        size = min(len(buffer), len(piece))
        buffer[:size], self._rest = piece[:size], piece[size:]
        return size
