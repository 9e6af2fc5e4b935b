"""A directory seen as a process would whose root it is."""

from pathlib import Path

import pytest

from dask_runner.mpiabi.elf import NotELFError
from dask_runner.mpiabi.inventory import take
from dask_runner.mpiabi.root import Root
from tests.programs import printed


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return a root with links that lead outside for who follows them outside."""
    top = tmp_path / "root"
    (top / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (top / "usr/lib/x86_64-linux-gnu/libmpi.so.40.1").write_text("inside")
    (top / "lib").symlink_to("usr/lib")
    (top / "etc/alternatives").mkdir(parents=True)
    (top / "etc/alternatives/libmpi.so").symlink_to(
        "/usr/lib/x86_64-linux-gnu/libmpi.so.40.1"
    )
    (top / "usr/lib/libmpi.so").symlink_to("/etc/alternatives/libmpi.so")
    (top / "usr/lib/up.so").symlink_to("../../../../../../etc/alternatives/libmpi.so")
    (top / "usr/lib/loop").symlink_to("loop")
    (top / "usr/lib/away").symlink_to("/no/such/file")
    return top


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/lib/libmpi.so", "/usr/lib/x86_64-linux-gnu/libmpi.so.40.1"),
        ("/usr/lib/up.so", "/usr/lib/x86_64-linux-gnu/libmpi.so.40.1"),
        ("/usr/../lib/./x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"),
        ("/", "/"),
        ("/usr/lib/loop", None),
        ("/usr/lib/away", None),
        ("/etc/passwd", None),
        ("/usr/lib/libmpi.so/below", None),
    ],
)
def test_links_are_followed_inside(top: Path, path: str, real: str | None) -> None:
    assert Root(top).real(path) == real


def test_patterns_follow_links_inside(top: Path) -> None:
    (top / "opt").symlink_to("/usr/lib")

    assert Root(top).glob("/opt/*-linux-gnu/*.so*") == [
        "/opt/x86_64-linux-gnu/libmpi.so.40.1"
    ]


def test_the_loader_looks_where_its_configuration_says_first(top: Path) -> None:
    (top / "opt/mpi/lib").mkdir(parents=True)
    (top / "etc/ld.so.conf.d").mkdir()
    (top / "etc/ld.so.conf").write_text("# ours\ninclude ld.so.conf.d/*.conf\n")
    (top / "etc/ld.so.conf.d/0.conf").write_text("/opt/mpi/lib\n/no/such\n")
    # One that includes itself must come to an end.
    (top / "etc/ld.so.conf.d/1.conf").write_text("include /etc/ld.so.conf\n")

    assert Root(top).loader_path == [
        "/opt/mpi/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib",
    ]


def test_a_library_is_found_beside_its_user_before_the_loaders_path(top: Path) -> None:
    own = top / "opt/mpi/lib"
    own.mkdir(parents=True)
    (own / "libmpi.so.40.1").write_text("own")
    root = Root(top)

    user = "/opt/mpi/lib/liba.so"
    assert root.library("libmpi.so.40.1", user, ("$ORIGIN",)) == str(
        Path("/opt/mpi/lib/libmpi.so.40.1")
    )
    assert root.library("libmpi.so.40.1") == "/usr/lib/x86_64-linux-gnu/libmpi.so.40.1"


def test_an_empty_root_has_no_facts_and_no_trouble(tmp_path: Path) -> None:
    facts = take(Root(tmp_path))

    assert (facts.arch, facts.libraries, facts.slurm, facts.notes) == ("", (), None, ())


LIBC = Root(Path("/")).library("libc.so.6") or ""


@pytest.mark.parametrize("size", [0, 3, 4, 20, 63, 64, 500, 5_000, 500_000])
def test_a_cut_library_is_an_error_and_no_crash(tmp_path: Path, size: int) -> None:
    cut = tmp_path / "libmpi.so.12"
    cut.write_bytes(Path(LIBC).read_bytes()[:size])

    root = Root(tmp_path)
    for reader in (root.elf, root.symbols):
        with pytest.raises(NotELFError, match="libmpi"):
            reader("/libmpi.so.12")


@pytest.mark.parametrize("at", range(0, 4_000, 97))
def test_a_damaged_library_is_read_or_refused(tmp_path: Path, at: int) -> None:
    data = bytearray(Path(LIBC).read_bytes())
    data[at : at + 24] = b"\xff" * 24
    damaged = tmp_path / "libmpi.so.12"
    damaged.write_bytes(data)

    try:
        Root(tmp_path).elf("/libmpi.so.12")
    except NotELFError as error:
        assert "libmpi.so.12" in str(error)  # noqa: PT017  either may be right


def test_a_damaged_library_is_noted_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libmpi.so.12").write_bytes(b"\x7fELF and no more")

    facts = take(Root(tmp_path))

    assert facts.libraries == ()
    assert len(facts.notes) == 1
    assert "libmpi.so.12" in facts.notes[0]


def test_the_command_line_loads_nothing_of_it_for_other_commands() -> None:
    code = (
        "import sys, dask_runner.cli\n"
        "print([n for n in sys.modules if 'mpiabi' in n or 'elftools' in n])"
    )

    assert printed(code) == "[]"
