"""The options of ``dask-runner job``: each is a variable of the templates as well."""

from __future__ import annotations

import functools
import shlex
from typing import TYPE_CHECKING, Any

from dask_runner.batch import amounts, quoting
from dask_runner.errors import ConfigError
from dask_runner.launch.options import Option
from dask_runner.launch.values import positive

if TYPE_CHECKING:
    from collections.abc import Callable


def _text(check: Callable[[object], str]) -> Callable[[Any], str]:
    """Have a filter that refuses texts say what is valid, as options do."""

    @functools.wraps(check)
    def parse(value: Any) -> str:
        try:
            return check(value)
        except ConfigError as error:
            raise ValueError(error.needed) from None

    return parse


def _words(value: Any) -> list[str]:
    try:
        words = shlex.split(value) if isinstance(value, str) else list(map(str, value))
    except (ValueError, TypeError):
        words = []
    if not words:
        raise ValueError("a command with its options, as typed, or a list of words")
    return words


def _lines(value: Any) -> list[str]:
    lines = value.splitlines() if isinstance(value, str) else list(map(str, value))
    return [line for line in lines if line.strip()]


def _given(value: Any) -> str:
    text = str(value)
    if not text or "\0" in text:
        raise ValueError("a text that is not empty")
    return text


OPTIONS: tuple[Option, ...] = (
    Option(
        "nodes",
        "Nodes; pods or slots where the system starts no ranks itself.",
        1,
        positive,
        "N",
        "-N",
    ),
    Option("ntasks-per-node", "Ranks a node.", 1, positive, "N"),
    Option("cpus-per-task", "CPUs of each rank.", None, positive, "N", "-c"),
    Option(
        "mem",
        "Memory of each node, such as 64GiB.",
        None,
        amounts.parse_memory,
        "SIZE",
    ),
    Option("gpus-per-node", "GPUs of each node.", None, positive, "N"),
    Option(
        "time",
        f"How long the job may run: {amounts.TIME_IN_WORDS}.",
        None,
        amounts.parse_time,
        "TIME",
        "-t",
    ),
    Option("job-name", "Name of the job.", "dask", _text(quoting.plain), "NAME", "-J"),
    Option(
        "partition",
        "Partition or queue.",
        None,
        _text(quoting.plain),
        "NAME",
        "-p",
    ),
    Option("account", "Who pays for it.", None, _text(quoting.plain), "NAME", "-A"),
    Option(
        "output",
        "File for what the job prints, as the system names files.",
        None,
        _text(quoting.plain),
        "FILE",
        "-o",
    ),
    Option(
        "image",
        "A SIF as the nodes see it, or an image in a registry; default: the SIF in "
        "which this command runs.",
        None,
        _given,
        "IMAGE",
    ),
    Option(
        "container",
        "What runs the image.",
        "apptainer run",
        _words,
        "COMMAND",
    ),
    Option(
        "launcher",
        "What starts the ranks, in place of the template's.",
        None,
        _words,
        "COMMAND",
    ),
    Option(
        "prologue",
        "A line of shell code before the launcher; may be repeated.",
        (),
        _lines,
        "LINE",
        multiple=True,
    ),
    Option(
        "directive",
        "An option more for the system, as written after #SBATCH; may be repeated.",
        (),
        _lines,
        "TEXT",
        multiple=True,
    ),
    Option(
        "templates",
        "Directory with templates of your own, which are taken first.",
        None,
        _given,
        "DIR",
    ),
)

BY_KEY = {option.key: option for option in OPTIONS}
