"""Find a Docker engine that answers, or start one.

If none answers, root on Debian or Ubuntu gets the distribution's ``docker.io``
installed and ``dockerd`` started in the background. ``.cache/engine.json`` records the
engine that was started here; ``stop`` ends that one only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import docker
from docker.errors import DockerException

from containers import lock
from containers.entry import CACHE
from dask_runner.errors import AssemblyError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

RECORD = CACHE / "engine.json"
LOG = CACHE / "engine.log"
SOCKET = Path("/var/run/docker.sock")
START_SECONDS = 60
STOP_SECONDS = 60
# An engine that unpacks an image answers within this time; the SDK waits a minute.
PING_SECONDS = 10
# The program that must be on the PATH, and the package that has it. In newer releases
# the command-line client is a package of its own.
PROGRAMS = {"dockerd": "docker.io", "iptables": "iptables", "docker": "docker-cli"}


def answering() -> docker.DockerClient | None:
    """Return a client of the engine that answers, or None.

    ``DOCKER_HOST``, ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH`` count.
    """
    if not _listens():
        return None
    try:
        client = docker.from_env(timeout=PING_SECONDS)
        client.ping()
    except DockerException:
        return None
    # Builds and image transfers have deadlines of their own.
    client.api.timeout = 600
    return client


def command_line() -> list[str]:
    """Return how a ``docker`` command begins that talks to the SDK's engine.

    Without an address, the command would follow the user's current context
    (``docker context use``), which the SDK does not know.

    Raises
    ------
    ConfigError
        There is no such command.
    """
    if shutil.which("docker") is None:
        raise ConfigError(
            "no command docker on the PATH",
            "Docker's command-line client, beside an engine",
            "install it: the package docker-cli, docker-ce-cli or docker.io",
        )
    return ["docker", f"--host={os.environ.get('DOCKER_HOST') or f'unix://{SOCKET}'}"]


def _listens() -> bool:
    """Say whether something listens: the SDK leaks a socket where nothing does."""
    if "DOCKER_HOST" in os.environ:
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(SOCKET))
        except OSError:
            return False
    return True


def ensure() -> docker.DockerClient:
    """Return a client of an engine, started here if there is none.

    Raises
    ------
    ConfigError
        No engine answers and none can be started on this machine.
    AssemblyError
        ``dockerd`` ended or did not answer before the deadline.
    """
    if client := answering():
        return client
    if host := os.environ.get("DOCKER_HOST"):
        raise ConfigError(
            f"no engine answers at DOCKER_HOST={host}",
            "an engine at that address",
            "start it, or unset DOCKER_HOST to use this machine's own",
        )
    if SOCKET.exists() and not os.access(SOCKET, os.W_OK):
        raise ConfigError(
            f"user {os.geteuid()} may not use the engine at {SOCKET}",
            f"membership of the group that owns {SOCKET}",
            "ask for it (usually the group docker), or name an engine of your own "
            "with DOCKER_HOST",
        )
    _require_root_on_debian()
    with locked("engine"):
        if client := answering():
            return client
        install(PROGRAMS)
        # With systemd, installing the package has started the engine.
        return answering() or _start()


def stop() -> str:
    """End the engine that :func:`ensure` started, and say what happened."""
    with locked("engine"):
        if not RECORD.exists():
            return "no engine was started from this checkout"
        record = json.loads(RECORD.read_text())
        pid = record["pid"]
        if _started_at(pid) != record["started_at"]:
            RECORD.unlink()
            return f"the engine (pid {pid}) has already ended"
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if not poll.poll(STOP_SECONDS * 1000):
                raise AssemblyError(
                    f"dockerd (pid {pid}) has not ended {STOP_SECONDS} s after SIGTERM",
                    "an engine that ends",
                    f"read {LOG}",
                )
        finally:
            os.close(handle)
        RECORD.unlink()
        return f"ended the engine (pid {pid})"


def install(programs: dict[str, str]) -> None:
    """Install the distribution's packages for the programs that are missing.

    Parameters
    ----------
    programs : dict of str to str
        Program name to package name.

    Raises
    ------
    ConfigError
        This is not root on Debian or Ubuntu, or apt-get fails.
    """
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    _require_root_on_debian()
    say(f"installing for {', '.join(missing)}")
    _apt("update", "-q")
    wanted = [programs[program] for program in missing]
    known = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *wanted],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    # A release without a package of this name has the program in one of the others.
    packages = [name for name in wanted if f"Package: {name}" in known]
    _apt("install", "-q", "-y", "--no-install-recommends", *packages)


def say(line: str) -> None:
    """Print a line about progress on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def locked(name: str) -> AbstractContextManager[None]:
    """Return the checkout's lock of a name."""
    return lock.locked(CACHE / f"{name}.lock")


def tail(text: str, lines: int = 20) -> str:
    """Return the last lines of a text, indented to stand in an error."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _require_root_on_debian() -> None:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {"PRETTY_NAME": platform.platform()}
    family = {release.get("ID", ""), *release.get("ID_LIKE", "").split()}
    if os.geteuid() == 0 and "debian" in family:
        return
    raise ConfigError(
        f"no container engine answers, and this is user {os.geteuid()} on "
        f"{release.get('PRETTY_NAME', 'an unknown system')}",
        "a Docker engine; it is installed from here only as root on Debian or Ubuntu",
        "start your engine, or name it with DOCKER_HOST",
    )


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", *arguments],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ConfigError(
            f"apt-get {' '.join(arguments)} ended with status {done.returncode}\n"
            f"{tail(done.stdout)}",
            "the distribution's packages",
            "repair apt's sources, or set http_proxy as your site says",
        )


def _start() -> docker.DockerClient:
    say(f"starting dockerd, log in {LOG}")
    # A shell that ends at once starts it: the engine outlives this process and must not
    # be its child.
    shell = subprocess.run(
        ["sh", "-c", 'dockerd </dev/null >"$1" 2>&1 & echo $!', "sh", str(LOG)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd="/",
        check=True,
    )
    pid = int(shell.stdout)
    started_at = _started_at(pid)
    RECORD.write_text(json.dumps({"pid": pid, "started_at": started_at}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if client := answering():
            return client
        if started_at is None or _started_at(pid) != started_at:
            RECORD.unlink()
            raise _no_answer("dockerd has ended")
        time.sleep(0.1)
    raise _no_answer(f"dockerd (pid {pid}) is silent for {START_SECONDS} s")


def _no_answer(saw: str) -> AssemblyError:
    return AssemblyError(
        f"{saw}; its log ends with\n{tail(LOG.read_text(errors='replace'))}",
        f"an engine that answers within {START_SECONDS} s",
        f"read {LOG}",
    )


def _started_at(pid: int) -> str | None:
    """Return the kernel's start time of a process, which no other pid shares."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - a kernel file
            # The name in parentheses may hold spaces, so fields count from its end.
            return stat.read().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        return None


def main(argv: Sequence[str]) -> int:
    """Run ``ci/engine [start | stop]``."""
    parser = argparse.ArgumentParser(
        prog="ci/engine",
        description="Make sure that a Docker engine answers (start, the default), "
        "or end the one that was started from this checkout (stop).",
    )
    parser.add_argument("action", choices=("start", "stop"), nargs="?", default="start")
    if parser.parse_args(argv).action == "stop":
        say(stop())
        return 0
    version = ensure().version()
    say(f"engine {version['Version']} (API {version['ApiVersion']}) answers")
    return 0
