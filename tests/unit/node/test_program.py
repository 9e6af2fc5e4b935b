"""The program before it is run: looked at without waiting for what may not come."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.errors import AssemblyError, ConfigError, RunnerError
from dask_runner.launch.launch import Program
from dask_runner.node import program

if TYPE_CHECKING:
    from pathlib import Path

#: Seconds for a test, whatever it waits for.
DEADLINE = 30.0


def read(own: Program, *, rank: int = 0, timeout: float = DEADLINE) -> bytes | None:
    async def look() -> bytes | None:
        async with asyncio.timeout(2 * DEADLINE):
            return await program.read(own, os.environ, timeout, rank)

    return asyncio.run(look())


def script(path: object) -> Program:
    return Program("script", str(path))


def test_what_can_be_read_again_is_left_to_the_client(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("pass")
    (tmp_path / "__main__.py").write_text("pass")
    (tmp_path / "empty.py").touch()
    for path in (tmp_path, tmp_path / "script.py", tmp_path / "empty.py"):
        assert read(script(path)) is None
    for kind in ("module", "code"):
        assert read(Program(kind, "nothing that is looked at")) is None
    assert read(Program("command", "sh")) is None


def test_what_goes_by_is_read_to_its_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    text = b"x = 1\n" * 100_000  # more than a pipe holds
    writer = threading.Thread(target=fifo.write_bytes, args=(text,), daemon=True)
    writer.start()
    assert read(script(fifo)) == text
    writer.join(DEADLINE)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing.py", "No such file"),
        ("folder", "a directory that has no __main__.py"),
        ("folder/nothing/x.py", "No such file"),
        ("/dev/null", "is empty"),
        ("/dev/zero", "longer than 4 MiB"),
    ],
)
def test_what_cannot_be_run_is_refused(
    tmp_path: Path, path: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as failure:
        read(script(path))
    assert words in failure.value.saw
    assert failure.value.needed
    assert failure.value.do


@pytest.mark.parametrize(
    ("target", "words", "do"),
    [
        ("no-such-command", "is not on the PATH", "check its name"),
        ("./no-such-command", "does not exist", "check its name"),
        ("script.py", "is a file", "leave out the --"),
        ("./script.py", "is not executable", "chmod +x"),
    ],
)
def test_a_command_that_cannot_be_run_is_refused(
    tmp_path: Path, target: str, words: str, do: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.py").touch(0o644)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as failure:
        read(Program("command", target))
    assert words in failure.value.saw
    assert do in failure.value.do


def test_a_command_in_the_place_of_the_script_is_told_where_it_belongs() -> None:
    with pytest.raises(ConfigError) as failure:
        read(script("sh"))
    assert "write -- before it" in failure.value.do


@pytest.mark.parametrize("kind", ["script", "command"])
def test_a_file_server_that_hangs_is_given_up_and_does_not_stop_the_loop(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    calls: list[Any] = []

    def hang(*args: Any, **how: Any) -> Any:
        calls.append((args, how))
        answers.wait(DEADLINE)
        raise OSError("the test is over")

    if kind == "script":
        monkeypatch.setattr(program.os, "stat", hang)
    else:
        monkeypatch.setattr(program.shutil, "which", hang)
    ticks = 0

    async def beside() -> RunnerError:
        nonlocal ticks

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        own = Program(kind, "/server/script.py")
        with pytest.raises(AssemblyError) as failure:
            await program.read(own, {}, 0.3)
        ticking.cancel()
        return failure.value

    try:
        error = asyncio.run(beside())
    finally:
        answers.set()
    assert calls
    assert ticks > 5
    assert "has not come within 0.3 s" in error.saw
    assert error.status == 75


def test_descriptors_that_a_shell_left_open_are_found_by_their_names() -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    try:
        words = [f"/dev/fd/{ours}", f"--in=/dev/fd/{theirs},x", "/dev/fd/1", "/dev/fd/"]
        words += [
            "/proc/self/fd/999999",
            f"/dev/fd/{'9' * 50}",
            f"x/proc/self/fd/{theirs}",
        ]
        # Standard streams are handed on as such; what Python opens is nobody's.
        assert program.descriptors(words) == (theirs,)
    finally:
        os.close(ours)
        os.close(theirs)
