"""What check lets unsquashfs do with a squashfs, played by a program of that name."""

import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.mpi.abi import bounds, unpack

#: Beside it what it lists, and what it does then; it keeps how it was called.
UNSQUASHFS = """\
#!/bin/sh
echo "$@" >> {here}/calls
case " $* " in
*" -lls "*) cat {here}/list ;;
*) while [ "$1" != -dest ]; do shift; done; cd "$2" || exit; . {here}/extract ;;
esac
"""

#: The first lines of an old one are not of its list.
LIST = """\
Parallel unsquashfs: Using 2 processors
7 inodes (7 blocks) to write

drwxr-xr-x root/domain users        26 2026-11-28 18:26 squashfs-root
drwxr-xr-x root/root                26 2026-11-28 18:26 squashfs-root/usr
-rw-r--r-- root/root                 5 2026-11-28 18:26 squashfs-root/usr/file
lrwxrwxrwx root/root                 1 2026-11-28 18:26 squashfs-root/li nk -> usr/x
crw-r--r-- root/root             1,  3 2026-11-28 18:26 squashfs-root/usr/device
"""

Fake = Callable[..., list[str]]


def line(kind: str, path: str, size: int = 1) -> str:
    """Return a line of the list."""
    return f"{kind}rwxr-xr-x 0/0 {size:>20} 2026-11-28 18:26 squashfs-root/{path}\n"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Open an image with an unsquashfs that says and does this; return its calls."""

    def give(
        listed: str, extract: str = "mkdir usr; echo found > usr/file"
    ) -> list[str]:
        (tmp_path / "list").write_text(listed)
        (tmp_path / "extract").write_text(extract)
        with unpack.opened("-image") as root:
            assert root.text("/usr/file") == "found\n"
        return (tmp_path / "calls").read_text().splitlines()

    program = tmp_path / "bin/unsquashfs"
    program.parent.mkdir()
    program.write_text(UNSQUASHFS.format(here=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-image").write_bytes(b"hsqs" + bytes(1000))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    return give


def refused(fake: Fake, tmp_path: Path, listed: str) -> ConfigError:
    """Return why an image is not unpacked."""
    with pytest.raises(ConfigError) as caught:
        fake(listed)
    assert len((tmp_path / "calls").read_text().splitlines()) == 1
    assert not list((tmp_path / "scratch").iterdir())
    return caught.value


def test_it_is_asked_first_what_it_would_write(fake: Fake, tmp_path: Path) -> None:
    asked, unpacked = fake(LIST)

    assert " -lls " in asked
    assert " -dest " in unpacked
    # Nothing of the image's name is an option.
    assert f" {tmp_path}/-image " in asked
    assert f" {tmp_path}/-image " in unpacked
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (line("-", "usr/../../../victim"), "leads out"),
        (line("-", ".."), "leads out"),
        (line("d", "usr/.."), "leads out"),
        (line("-", "usr//etc/passwd"), "leads out"),
        # A name with a slash in it goes through a link.
        (line("l", "a -> /home") + line("-", "a/file"), "leads out"),
        (line("-", "a") + line("-", "a/file"), "leads out"),
        # So does a directory of the same name, in old ones.
        (line("l", "a -> /home") + line("d", "a"), "twice"),
        (line("l", "a -> b -> /home") + line("d", "a -> b"), "twice"),
        (line("d", "a") + line("l", "a -> /home"), "twice"),
        (line("-", "one\nmore"), "line's end"),
        (line("-", "one\n" + line("-", "b").strip() + "/../x"), "leads out"),
        (line("l", "no target"), "leads nowhere"),
        (line("-", "n" * 9000), "line's end"),
        ("".join(line("d", "a/" * n + "a") for n in range(200)), "more than 128"),
    ],
)
def test_names_that_would_not_lie_where_they_say_are_refused(
    fake: Fake, tmp_path: Path, lines: str, why: str
) -> None:
    assert why in refused(fake, tmp_path, LIST + lines).saw


@pytest.mark.parametrize(
    ("bound", "value", "lines", "why"),
    [
        ("MOST_KEPT", 1 << 30, line("-", "usr/a", 1 << 31), "more than 1 GiB"),
        (
            "MOST_ENTRIES",
            20,
            "".join(line("p", f"a{n}") for n in range(20)),
            "20 files",
        ),
    ],
)
def test_more_than_there_is_room_for_is_refused(
    fake: Fake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: int,
    lines: str,
    why: str,
) -> None:
    monkeypatch.setattr(bounds, bound, value)

    assert why in refused(fake, tmp_path, LIST + lines).saw


def test_what_it_has_written_can_be_removed_and_no_links_target_is_changed(
    fake: Fake, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o711)
    victim.chmod(0o711)
    extract = (
        "mkdir -p usr a/b; echo found > usr/file;"
        f"ln -s {victim} a/b/link; ln -s {victim} link; chmod 0 a/b; chmod 555 a"
    )

    fake(LIST, extract)

    assert victim.stat().st_mode & 0o777 == 0o711
    assert not list((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("said", [r"\033[2J bad", "bad\\n\\033[2J"])
def test_what_it_says_is_shown_as_text(fake: Fake, tmp_path: Path, said: str) -> None:
    (tmp_path / "list").touch()

    with pytest.raises(ConfigError, match="ended with status 1") as caught:
        fake(LIST, f"printf '{said}' >&2; exit 1")

    assert str(caught.value).replace("\n", "").isprintable()
    assert r"\x1b[2J" in caught.value.saw


def test_it_does_not_outlive_the_patience(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "PATIENCE_SECONDS", 1)

    with pytest.raises(ConfigError, match="not read within 1 s"):
        fake(LIST, "exec sleep 1000")


@pytest.mark.parametrize("place", [-1, 1 << 62, -(1 << 63)])
@pytest.mark.parametrize("total", [1, 1 << 62])
def test_a_header_that_leads_astray_is_an_error(
    fake: Fake, tmp_path: Path, place: int, total: int
) -> None:
    del fake
    head = struct.pack(
        "<32s10s3s3s16s8q",
        *(b"#!\n", b"SIF_MAGIC\0", b"01\0", b"02\0", b"", 0, 0, 0, total, place),
        *(585, 4096, 8),
    )
    (tmp_path / "x.sif").write_bytes(head + bytes(2000))

    with (
        pytest.raises(ConfigError, match=r"x\.sif") as caught,
        unpack.opened(str(tmp_path / "x.sif")),
    ):
        pass
    assert caught.value.do
