"""Where Python looks for the user's modules, by who asks."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from dask_runner.launch.launch import Launch, Program
from dask_runner.launch.plan import make_plan
from dask_runner.launch.settings import settle
from dask_runner.launch.world import World
from dask_runner.node.instructions import Modules
from dask_runner.node.make_instructions import modules
from dask_runner.programs import user_modules
from dask_runner.programs.user_modules import CLIENT, COMMAND, SERVER, WORKER


def test_what_it_names_in_dask_is_there() -> None:
    import runpy  # noqa: F401, PLC0415

    import distributed.preloading  # noqa: PLC0415
    import distributed.protocol.pickle  # noqa: PLC0415
    import distributed.shuffle  # noqa: PLC0415
    import distributed.utils  # noqa: PLC0415
    import distributed.worker  # noqa: F401, PLC0415

    import dask_runner.programs.client  # noqa: F401, PLC0415

    for module, function in user_modules.NAMED | user_modules.CALLING:
        assert callable(getattr(sys.modules[module], function)), (module, function)


# -------------------------------------------------------------- which directory


def test_a_directory_is_only_ours_where_nobody_else_can_write_above(
    tmp_path: Path,
) -> None:
    own = tmp_path / "above" / "own"
    own.mkdir(parents=True, mode=0o755)
    assert user_modules.is_only_ours(str(own))
    for path, mode, ours in (
        (own, 0o777, False),
        (own, 0o1777, False),
        (own, 0o775, _group_is_private()),
        (own.parent, 0o777, False),
        # As /tmp: only its owner can move what lies there.
        (own.parent, 0o1777, True),
    ):
        before = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode)
        assert user_modules.is_only_ours(str(own)) is ours, (path, oct(mode))
        path.chmod(before)
    assert not user_modules.is_only_ours(str(own / "nothing"))


def _group_is_private() -> bool:
    return user_modules._is_private(os.getegid())  # noqa: SLF001


def test_a_scripts_directory_is_where_the_script_itself_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = tmp_path / "real" / "script.py"
    path.touch()
    link = tmp_path / "link.py"
    link.symlink_to("real/script.py")
    for name in (path, link):
        assert user_modules.script_directory(str(name)) == str(path.parent)
    read, write = os.pipe()
    try:
        pipe = f"/proc/self/fd/{read}"
        assert user_modules.script_directory(pipe) == "/proc/self/fd"
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize(
    ("program", "script", "at", "command"),
    [
        (Program("script", "x.py"), "", ["x.py"], False),
        (Program("script", "/y/x.py"), "", ["/y/x.py"], False),
        (Program("script", "-"), "", ["."], False),
        (Program("script", "/dev/fd/63"), "", [], False),
        (Program("module", "x"), "", ["."], False),
        (Program("code", "x"), "", ["."], False),
        (Program("command", "x"), "", ["."], True),
        (None, "/y/x.py", ["/y/x.py"], False),
        (None, "", ["."], False),
    ],
)
def test_where_the_modules_of_a_program_may_be(
    program: Program | None, script: str, at: list[str], *, command: bool
) -> None:
    world = World("local", 0, 1, 0, 1, "1", "local-1", "private")
    launch = Launch(
        world, make_plan(1, "shared"), settle({}, {}), {}, program, script=script
    )
    here = [str((Path.cwd() / one).absolute()) for one in at]
    assert modules(launch) == Modules(tuple(here), command)


def test_the_client_is_a_role_of_its_own() -> None:
    assert len({CLIENT, WORKER, SERVER, COMMAND}) == 4
