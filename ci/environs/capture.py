"""Capture the environments that real launchers make, for tests/data/environ.

::

    ci/capture_environ mpi [NAME…]      runtimes of ci/mpi.py, on this machine
    ci/capture_environ slurm [NAME…]    the cluster of ci/cluster, which is up

Only the files of real runs are written; those made from documentation stay. What a file
expects comes from the case (the number of ranks on each node) and from the name of each
rank's output (mpi4py's own rank, srun's), not from the variables. The job, the key and
the local rank are what :func:`dask_runner.launch.detect.detect` finds, for a person to
check in the diff. Open MPI 5 gives local ranks in an order of its own, so each node
just has to have each once. Hosts, users, addresses and paths are replaced by examples.
"""

from __future__ import annotations

import datetime as dt
import getpass
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ci import mpi
from ci.environs import cases
from containers.entry import ROOT
from dask_runner.errors import ConfigError
from dask_runner.launch.detect import detect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ci.environs.cases import Case

ENVIRONS = ROOT / "tests" / "data" / "environ"

# Launchers set these; others are the machine's own.
_KEPT = re.compile(
    r"(SLURM|SLURMD|SRUN|PMI|PMIX|OMPI|PRTE|HYDRA|HYDI|MPI|MPIR|I_MPI_HYDRA|APPTAINER"
    r"|SINGULARITY)_|ENVIRONMENT$|HOSTNAME$"
)
# These are long, and about the machine or the user's session.
_DROPPED = re.compile(
    r"APPTAINER_(ENVIRONMENT|BIND|COMMAND)|SINGULARITY_(ENVIRONMENT|BIND)|OMPI_ARGV"
    r"|OMPI_COMMAND$|OMPI_MCA_PREFIXES|\w+_ALLOW_RUN_AS_ROOT|SLURM_(TASK_PID|UMASK)"
)
_ADDRESS = re.compile(r"\b(\d{1,3}\.){3}\d{1,3}\b")
_ADDRESS6 = re.compile(r"\[[0-9a-fA-F:]*::[0-9a-fA-F:]*\]")


_WAYS = {"slurm": "file", "openmpi": "mpi", "hydra": "pmi"}

# How the environment of a rank gets into a file with the rank's name. srun names the
# output of each task (wrongly in a second component); under mpiexec each rank does.
_SAVE = {
    "task": "--output=$OUT/%t env -0",
    "print": "env -0 > $OUT/0",
    "rank": "$OUT/save",
    "image": "/images/dask-runner.sif",
}
_RANK_SAVES = """\
#!/bin/sh
env -0 > "$OUT/${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-$SLURM_PROCID}}"
"""
# How the first line of the file shows the same.
_SHOWN = {
    "{image}": _SAVE["image"],
    'sh -c "{print}"': "dask-runner",
    "{save}": "dask-runner",
    "{task}": "dask-runner",
    "sh -c '{print}'": "dask-runner",
    "bash -c '{print}'": "bash",
    "'{print}'": "dask-runner",
    "{rank}": "dask-runner",
}

# Each rank of an MPI runtime runs this. It saves the environment as it was before MPI
# was loaded, which changes it, under the rank that MPI gives.
_PROBE = """
import os, sys
before = dict(os.environ)
from mpi4py import MPI
rank = MPI.COMM_WORLD.rank
assert MPI.COMM_WORLD.size == int(sys.argv[2]), "singletons"
with open(os.path.join(sys.argv[1], str(rank)), "w") as file:
    file.write("\\0".join(f"{name}={text}" for name, text in before.items()))
"""


def main(arguments: Sequence[str]) -> int:
    """Capture the cases that are named."""
    kinds: dict[str, Callable[[Sequence[str]], None]] = {"mpi": _mpi, "slurm": _slurm}
    if not arguments or arguments[0] not in kinds:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    kinds[arguments[0]](arguments[1:])
    return 0


def _mpi(names: Sequence[str]) -> None:
    for case in _chosen(cases.MPI, names):
        # This Python loads mpi4py, under the runtime's own mpiexec.
        runtime = mpi.runtime(case.family)
        mpiexec, flag, count = runtime.mpiexec(case.size)
        with tempfile.TemporaryDirectory() as out:
            # An almost empty environment: all else comes from the launcher.
            environ = runtime.environ({"PATH": "/usr/bin:/bin", "HOME": out})
            probe = [sys.executable, "-c", _PROBE, out, count]
            subprocess.run(
                [mpiexec, flag, count, *probe],
                check=True,
                cwd=out,
                env=environ,
                timeout=60,
            )
            private = {
                out: "/home/user",
                str(runtime.prefix): f"/opt/{case.family}",
                socket.gethostname(): "node1",
                f".{os.geteuid()}/": ".1000/",
                getpass.getuser(): "user",
            }
            texts = [(Path(out) / str(rank)).read_text() for rank in range(case.size)]
        _write(case, texts, runtime.family.requirement, private)


def _slurm(names: Sequence[str]) -> None:
    # Imported here: it needs the Docker SDK, which the other kind does not.
    from ci.slurm.cluster import Cluster  # noqa: PLC0415

    cluster = Cluster()
    slurm = cluster.run("srun --version").stdout.strip()
    for case in _chosen(cases.SLURM, names):
        out = f"/home/user/capture/{case.name}"
        command = case.command.format(**_SAVE)
        # An almost empty environment, without the container's own variables.
        clean = f"env -i PATH=/usr/bin:/bin HOME=/home/user OUT={out}"
        cluster.run(
            f"rm -rf {out} && mkdir -p {out} && cd {out}"
            f" && printf %s {shlex.quote(_RANK_SAVES)} > save && chmod +x save"
        )
        done = cluster.run(
            f"cd {out} && {clean} SBATCH_OUTPUT=/dev/null sh -c {shlex.quote(command)}",
            timeout=400,
        )
        if done.returncode:
            raise SystemExit(f"{case.name}: status {done.returncode}\n{done.stderr}")
        texts = [cluster.run(f"cat {out}/{rank}").stdout for rank in range(case.size)]
        _write(case, texts, f"{slurm}, two nodes of Debian trixie", {})
        cluster.run(f"rm -rf {out}")


def _chosen(cases: tuple[Case, ...], names: Sequence[str]) -> Iterator[Case]:
    unknown = set(names) - {case.name for case in cases}
    if unknown:
        raise SystemExit(f"no such case: {', '.join(sorted(unknown))}")
    return (case for case in cases if not names or case.name in names)


def _write(
    case: Case, texts: list[str], versions: str, private: Mapping[str, str]
) -> None:
    """Write the environments to keep, each with what it is expected to give."""
    environs = [_kept(text, private) for text in texts]
    stated = _stated(case, environs)
    command = case.command
    for blank, shown in _SHOWN.items():
        command = command.replace(blank, shown)
    words = f"{case.words}; " if case.words else ""
    today = dt.datetime.now(tz=dt.UTC).date()
    for rank in case.ranks:
        name = f"{case.name}-rank{rank}" if case.size > 1 else case.name
        lines = [
            f"# captured {today}: {words}{command}, rank {rank}; {versions}",
            f"# {stated[rank]}",
            *(f"{name}={value}" for name, value in environs[rank].items()),
        ]
        path = ENVIRONS / f"{name}.env"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}: {stated[rank]}\n")


def _kept(text: str, private: Mapping[str, str]) -> dict[str, str]:
    variables = dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
    return {
        name: _clean(value, private)
        for name, value in sorted(variables.items())
        if _KEPT.match(name) and not _DROPPED.match(name)
    }


def _stated(case: Case, environs: list[dict[str, str]]) -> list[str]:
    """Return for each rank the line with what its environment is expected to give."""
    if case.launcher.startswith("error: "):
        return [case.launcher]
    if case.launcher == "none":
        return ["expect: none"]
    try:
        worlds = [detect(environ) for environ in environs]
    except ConfigError as error:
        raise SystemExit(f"{case.name}: {error}") from error
    sizes = [size for size in case.nodes for _ in range(size)]
    lines = []
    on_nodes: list[tuple[int, int]] = []
    for rank, (world, size) in enumerate(zip(worlds, sizes, strict=True)):
        if world is None or world.local_rank is None:
            raise SystemExit(f"{case.name}: rank {rank} of no launcher")
        node = sum(rank >= sum(case.nodes[: n + 1]) for n in range(len(case.nodes)))
        on_nodes.append((node, world.local_rank))
        lines.append(
            f"expect: launcher={case.launcher} rank={rank} size={case.size}"
            f" local_rank={world.local_rank} local_size={size} job_id={world.job_id}"
            f" key={world.key}"
            f" meeting={_WAYS[case.launcher]}"
        )
    if sorted(on_nodes) != [(n, k) for n, c in enumerate(case.nodes) for k in range(c)]:
        raise SystemExit(f"{case.name}: local ranks {on_nodes}")
    return lines


def _clean(value: str, private: Mapping[str, str]) -> str:
    for text, words in private.items():
        value = value.replace(text, words)
    value = _ADDRESS6.sub("[2001:db8::1]", value)
    return _ADDRESS.sub(_public, value)


def _public(match: re.Match[str]) -> str:
    address = match.group()
    if address.startswith("127."):
        return address
    return "192.0.2." + address.rpartition(".")[2]
