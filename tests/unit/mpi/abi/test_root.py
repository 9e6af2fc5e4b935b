"""A directory seen as a process would whose root it is."""

import os
from pathlib import Path

import pytest

from dask_runner.mpi.abi import root as root_module
from dask_runner.mpi.abi.elf import NotELFError, numbers
from dask_runner.mpi.abi.files import Disk
from dask_runner.mpi.abi.inventory import take
from dask_runner.mpi.abi.root import Root


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


@pytest.mark.parametrize("kind", ["pipe", "directory", "link out", "endless link"])
def test_what_is_no_regular_file_inside_is_not_opened(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "libmpi.so.12").write_bytes(b"\x7fELF outside")
    path = tmp_path / "root/usr/lib/libmpi.so.12"
    path.parent.mkdir(parents=True)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "link out":
            path.symlink_to("../../../libmpi.so.12")
        case _:
            path.symlink_to("libmpi.so.12")
    root = Root(tmp_path / "root")

    # A pipe without anybody at its other end would be waited for.
    assert not root.is_elf("/usr/lib/libmpi.so.12")
    assert root.data("/usr/lib/libmpi.so.12") == b""
    for reader in (root.elf, root.symbols):
        with pytest.raises(NotELFError, match=r"/usr/lib/libmpi\.so\.12: "):
            reader("/usr/lib/libmpi.so.12")
    with pytest.raises(OSError, match=r"regular|No such|symbolic"):
        root.open("/usr/lib/libmpi.so.12")


def test_a_link_that_is_laid_after_the_look_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("secret")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/directory").symlink_to(tmp_path / "outside")
    disk = Disk(tmp_path / "root")

    # As if it had been a directory when the path was resolved.
    with pytest.raises(NotADirectoryError):
        disk.open("/directory/file")
    with pytest.raises(NotADirectoryError):
        disk.names("/directory")


def test_links_in_a_circle_match_no_pattern_without_end(tmp_path: Path) -> None:
    for name in "abcdefghij":
        (tmp_path / name).symlink_to(".")
    root = Root(tmp_path)

    assert root.glob("/*/*/*/*/*/*/*/*/*/*/*/*") == []
    assert len(root.glob("/*/*/*")) == 1000
    assert root.unread == ["/*/*/*/*/*/*/*/*/*/*/*/*: more than 10000 files"]


def test_the_loaders_configuration_may_include_some_levels(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for number in range(2000):
        (tmp_path / f"etc/{number}").mkdir()
        (tmp_path / f"etc/{number}.conf").write_text(
            f"/etc/{number}\ninclude {number + 1}.conf\n"
        )
    (tmp_path / "etc/ld.so.conf").write_text("include 0.conf\n")

    assert Root(tmp_path).loader_path == [f"/etc/{number}" for number in range(8)]


def test_texts_and_libraries_have_a_bound_and_the_report_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_module, "MOST_TEXT", 10)
    monkeypatch.setattr(root_module, "MOST_DATA", 10)
    for number in range(30):
        (tmp_path / str(number)).write_bytes(b"\x7fELF" + bytes(7))
    root = Root(tmp_path)

    assert [root.text(f"/{number}") for number in range(30)] == [""] * 30
    with pytest.raises(NotELFError, match="/0: File too large"):
        root.elf("/0")
    assert len(root.unread) == 21
    assert root.unread[-2:] == ["/19: File too large", "and more that is not listed"]


@pytest.mark.parametrize("path", ["/a\0b", "/\ud800", "/" + "n" * 300, "/a" * 4000])
def test_a_name_that_no_file_can_have_is_not_there(tmp_path: Path, path: str) -> None:
    root = Root(tmp_path)

    assert root.real(path) is None
    assert root.names(path) == root.glob(path) == []
    assert root.data(path) == b""


@pytest.mark.parametrize("text", ["1" * 5000, "v" + "9." * 5000, "1." + "7" * 9999])
def test_versions_of_any_length_are_numbers(text: str) -> None:
    assert all(number < 10**9 for number in numbers(text))
