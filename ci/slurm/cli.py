"""The command ``ci/cluster``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from ci.slurm.cluster import HOME, LOGIN, NAME, SLURM, USER, Cluster
from ci.systems import BY_NAME
from containers.engine import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from containers.commands import Running

# At exec, these end the command and not exec itself.
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def up(cluster: Cluster, _: argparse.Namespace) -> int:
    """Bring the cluster up."""
    cluster.up()
    say(f'cluster "{cluster.name}" is up: {", ".join(cluster.members())}')
    return 0


def down(cluster: Cluster, _: argparse.Namespace) -> int:
    """Take the cluster down."""
    cluster.down()
    return 0


def logs(cluster: Cluster, options: argparse.Namespace) -> int:
    """Print what the daemons logged."""
    sys.stdout.write(cluster.logs(options.lines or "all") + "\n")
    return 0


def act(cluster: Cluster, options: argparse.Namespace) -> int:
    """Do to a node what the command is called: kill, stop, freeze, cut, restore."""
    getattr(cluster.node(options.node), options.command)()
    return 0


def execute(cluster: Cluster, options: argparse.Namespace) -> int:
    """Run a command on a node and return its status."""
    # A stream that was closed before Python started is None.
    terminal = all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout))
    running = cluster.start(
        options.argv,
        node=options.node,
        user=options.user,
        timeout=None,
        cwd=HOME if options.user == USER else "/root",
        env={"TERM": os.environ.get("TERM", "dumb")} if terminal else None,
        stdin=not terminal,
        shown=True,
        tty=terminal,
    )
    if terminal:
        # docker exec reads the terminal itself, Ctrl-C included.
        return running.wait().returncode
    # A daemon thread, because a read from stdin cannot be interrupted.
    threading.Thread(target=_feed, args=(running, sys.stdin), daemon=True).start()
    with _forwarding(running):
        return running.wait().returncode


def _feed(running: Running, stdin: TextIO | None) -> None:
    try:
        while stdin and (data := os.read(stdin.fileno(), 2**16)):
            running.write(data)
        running.close_stdin()
    except (OSError, ValueError):
        # The command ended without reading all of its input, which is no error.
        return


@contextmanager
def _forwarding(running: Running) -> Iterator[None]:
    """Send the signals of this process to the command, whose end then ends us."""

    def forward(number: int, _: FrameType | None) -> None:
        # In a thread: the handler may have interrupted the client that it needs.
        threading.Thread(target=running.signal, args=(number,), daemon=True).start()

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# Name, help, function.
COMMANDS: tuple[tuple[str, str, Callable[[Cluster, argparse.Namespace], int]], ...] = (
    ("up", "bring it up, if it is not up", up),
    ("exec", "run a command on a node; its status is the command's", execute),
    ("logs", "print what the daemons logged", logs),
    ("kill", "a node loses power", act),
    ("stop", "a node is shut down in order", act),
    ("freeze", "a node stands still, its connections stay open", act),
    ("cut", "a node's network is cut, packets vanish", act),
    ("restore", "a node comes back from any of these", act),
    ("down", "remove its containers, network and home", down),
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``ci/cluster``."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", default=NAME, help="which cluster (%(default)s)")
    result = argparse.ArgumentParser(
        prog="ci/cluster",
        description="A cluster in containers, of Slurm or another system: a login node "
        "and compute nodes c1, c2 ..., images in /images, examples in /examples.",
    )
    commands = result.add_subparsers(dest="command", required=True)
    made: dict[str, Any] = {}
    for name, text, function in COMMANDS:
        made[name] = commands.add_parser(name, help=text, parents=[common])
        made[name].set_defaults(function=function)
        if function is act:
            made[name].add_argument("node", help="login, c1, c2 ...")
    made["up"].add_argument("--nodes", type=int, default=2, help="%(default)s")
    made["up"].add_argument("--cpus", type=int, default=16, help="each (%(default)s)")
    made["up"].add_argument(
        "--system",
        choices=list(BY_NAME),
        default=SLURM,
        help="; ".join(f"{row.name}: {row.title}" for row in BY_NAME.values()),
    )
    made["exec"].add_argument("--node", default=LOGIN, help="where (%(default)s)")
    made["exec"].add_argument("--user", default=USER, help="as whom (%(default)s)")
    made["exec"].add_argument(
        "argv",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="with its arguments; a shell by default",
    )
    made["logs"].add_argument("--lines", type=int, help="the last ones of each node")
    return result


def main(argv: Sequence[str]) -> int:
    """Run ``ci/cluster``."""
    parsing = parser()
    options = parsing.parse_args(argv)
    keys = ("nodes", "cpus", "system")
    shape = {key: getattr(options, key) for key in keys if key in options}
    if options.command == "exec":
        if options.argv[:1] == ["--"]:
            del options.argv[0]
        options.argv = options.argv or ["bash", "-l"]
    status: int = options.function(Cluster(options.name, **shape), options)
    return status
