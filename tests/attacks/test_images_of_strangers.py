"""Somebody gives away an image, and you ask ``dask-runner check`` what it is.

It is one file because one image after the other goes the same way through one command.
"""

import json
import os
import resource
import shlex
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.strangers_images import (
    base,
    bomb,
    docker,
    hard,
    header,
    layout,
    link,
    tar,
    tree,
)

#: Seconds after which a check counts as one that has no end.
NO_END = 60

#: Bytes that a check may take: of memory, and in one file.
MEMORY, DISK = 2 << 30, 256 << 20


@dataclass
class You:
    """Your temporary directory, with things of yours in it and beside it."""

    place: Path

    def __post_init__(self) -> None:
        for name in ("tmp/project", "home"):
            (self.place / name).mkdir(parents=True)
            (self.place / name / "thesis.dat").write_text("years of work")
            (self.place / name / "script.sh").touch(mode=0o640)

    def check(self, image: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        """Check an image, and look whether all is as it was."""
        before = tree(self.place)
        done = subprocess.run(
            [sys.executable, "-m", "dask_runner", "check", *flags, str(image)],
            env={**os.environ, "TMPDIR": str(self.place / "tmp")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=NO_END,
            check=False,
            preexec_fn=_bounded,
        )
        after = tree(self.place)
        # The temporary directory itself had one more in it for a while.
        for found in (before, after):
            mode, _, data = found.pop(str(self.place / "tmp"), (0, 0, b""))
            found["tmp"] = (mode, 0, data)
        assert after == before
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def reads(self, image: Path) -> None:
        """Check an image that can be read in spite of all."""
        done = self.check(image, "--json")
        assert done.returncode == 0, done
        assert json.loads(done.stdout)["image"]["arch"] == os.uname().machine

    def refuses(self, image: Path) -> str:
        """Check one that cannot, and return why."""
        done = self.check(image)
        assert done.returncode == 78, done
        assert done.stdout == ""
        assert "\ndask-runner:   needed: " in done.stderr
        assert "\ndask-runner:   you can: " in done.stderr
        return done.stderr


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK, DISK))


@pytest.fixture
def you(tmp_path: Path) -> You:
    """Return somebody who checks images."""
    return You(tmp_path / "you")


@pytest.mark.attack(
    "builds an image whose layer deletes the directory above it (`.wh...`)",
    "nothing: the image is read, and its names are never paths on your machine",
)
@pytest.mark.parametrize("whiteout", [".wh.", ".wh..", ".wh...", "//.wh...", "./.wh.."])
@pytest.mark.parametrize("below", ["", "usr/", "usr/lib/"])
def test_whiteouts_of_what_has_no_name(
    you: You, tmp_path: Path, below: str, whiteout: str
) -> None:
    upper = tar([(f"{below}{whiteout}", b"")])

    you.reads(docker(tmp_path / "image.tar", tar(base()), upper))


@pytest.mark.attack(
    "builds an image with links to your files, and writes, deletes and reads "
    "through them",
    "files of the image: links are followed inside it",
)
def test_links_to_what_is_outside(you: You, tmp_path: Path) -> None:
    home = str(you.place / "home")
    away = "/".join([".."] * 40) + home
    upper = tar(
        [
            ("a", link(home)),
            ("b", link(away)),
            ("c", link("b")),
            ("a/.wh.thesis.dat", b""),
            ("b/.wh..wh..opq", b""),
            ("c/thesis.dat", b"another's"),
            ("d", hard(f"{home}/thesis.dat")),
            ("d", b"another's"),
            ("e", hard("../../home/thesis.dat")),
            (f"{home}/thesis.dat", b"another's"),
            (f"{away}/script.sh", b"another's"),
            # What is there twice is a link first, and a directory then.
            ("f", link(home)),
            ("f", {"type": tarfile.DIRTYPE, "mode": 0o777}),
            ("f/thesis.dat", b"another's"),
            ("usr/lib/libmpi.so.12", link(f"{home}/thesis.dat")),
            # A hundred names that are one: more than the kernel would follow.
            *((f"g{number}", link(f"g{number + 1}")) for number in range(100)),
            ("g0/thesis.dat", b"another's"),
        ]
    )

    you.reads(docker(tmp_path / "image.tar", tar(base()), upper))


@pytest.mark.attack(
    "builds an image with a thousand nested directories, and names below files",
    "a report without these",
)
def test_places_that_cannot_be(you: You, tmp_path: Path) -> None:
    upper = tar(
        [
            ("h/" * 1500 + "libmpi.so.12", b"deep"),
            ("usr/lib/libc.so.6/below", b"below a file"),
            ("usr/lib/libc.so.6/.wh.below", b""),
            ("usr/lib/" + "n" * 300, b"longer than a name can be"),
        ]
    )

    you.reads(docker(tmp_path / "image.tar", tar(base()), upper))


@pytest.mark.attack(
    "builds an image whose headers would fill your memory",
    "an error: headers have a maximum size",
)
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_headers_that_fill_the_memory(you: You, tmp_path: Path, kind: bytes) -> None:
    upper = bomb(header("x", kind, 4 << 30), 4096)

    why = you.refuses(docker(tmp_path / "image.tar", tar(base()), upper))

    assert "headers of more than 1048576 bytes" in why


@pytest.mark.attack(
    "builds an image of a few bytes that unpacks to a terabyte",
    "a report without that file, or an error: unpacking uses half of your free "
    "disk at most",
)
def test_a_file_with_holes_that_fills_the_disk(you: You, tmp_path: Path) -> None:
    holes = {
        "size": 1,
        "pax_headers": {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 40)},
    }
    upper = tar([("usr/lib/libmpi.so.12", holes)], tarfile.PAX_FORMAT)

    you.reads(docker(tmp_path / "image.tar", tar(base()), upper))


@pytest.mark.attack(
    "builds an image with a circle of links, and lists them for the loader",
    "a report that names the pattern with too many matches",
)
def test_patterns_that_match_without_end(you: You, tmp_path: Path) -> None:
    circle = [(f"a/{letter}", link(".")) for letter in "abcdefghij"]
    upper = tar([*circle, ("etc/ld.so.conf", b"/a/*/*/*/*/*/*/*/*/*/*\n")])
    image = docker(tmp_path / "image.tar", tar(base()), upper)

    you.reads(image)

    assert "not read: /a/*/*/*" in you.check(image).stdout


@pytest.mark.attack(
    "builds an image whose index names itself",
    "an error after four indexes",
)
def test_an_index_that_names_itself(you: You, tmp_path: Path) -> None:
    itself = json.dumps({"manifests": [{"digest": "sha256:aa"}]}).encode()
    files = {"index.json": itself, "blobs/sha256/aa": itself}

    why = you.refuses(layout(tmp_path / "image", files))

    assert "more than 4 indexes" in why


@pytest.mark.attack(
    "builds an image that names a file of yours, a pipe or a device as its layer",
    "an error: only regular files inside the image are read",
)
@pytest.mark.parametrize("name", ["{0}", "../you/home/layer.tar", "pipe", "/dev/zero"])
def test_layers_that_are_not_the_images(you: You, tmp_path: Path, name: str) -> None:
    yours = you.place / "home/layer.tar"
    yours.write_bytes(tar([*base(), ("etc/os-release", b"PRETTY_NAME=secret")]))
    manifest = json.dumps([{"Layers": [name.format(yours)]}]).encode()
    image = layout(tmp_path / "image", {"manifest.json": manifest})
    os.mkfifo(image / "pipe")

    assert name.format(yours) in you.refuses(image)


@pytest.mark.attack(
    "builds a SIF with names that lead out of it, for an unsquashfs older than 2022",
    "an error: unsquashfs first lists the names that it would write",
)
@pytest.mark.parametrize(
    "listed",
    [
        ["-rw-r--r-- a/b 1 2021-01-01 00:00 squashfs-root/../../home/thesis.dat"],
        [
            "lrwxrwxrwx a/b 1 2021-01-01 00:00 squashfs-root/usr -> ../../home",
            "drwxr-xr-x a/b 1 2021-01-01 00:00 squashfs-root/usr",
            "-rw-r--r-- a/b 1 2021-01-01 00:00 squashfs-root/usr/thesis.dat",
        ],
    ],
    ids=["CVE-2021-40153", "CVE-2021-41072"],
)
def test_a_squashfs_that_unpacks_elsewhere(
    you: You, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: list[str]
) -> None:
    program = tmp_path / "bin/unsquashfs"
    program.parent.mkdir()
    top = "drwxr-xr-x a/b 1 2021-01-01 00:00 squashfs-root"
    program.write_text(
        "#!/bin/sh\n"
        'case " $* " in\n'
        f"*' -lls '*) printf '%s\\n' {shlex.join([top, *listed])} ;;\n"
        f"*) echo other > {you.place}/home/thesis.dat ;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    image = tmp_path / "image.sif"
    image.write_bytes(b"hsqs" + bytes(1000))

    assert "leads out" in (why := you.refuses(image)) or "twice" in why


@pytest.mark.attack(
    "puts links to your files, pipes and devices into an unpacked image",
    "a report without these",
)
def test_an_unpacked_image_with_pipes(you: You, tmp_path: Path) -> None:
    (you.place / "home/os-release").write_text("PRETTY_NAME=secret\n")
    image = tmp_path / "image"
    for name, data in base():
        (image / name).parent.mkdir(parents=True, exist_ok=True)
        (image / name).write_bytes(data)
    (image / "etc/os-release").unlink()
    (image / "etc/os-release").symlink_to(you.place / "home/os-release")
    os.mkfifo(image / "usr/lib/libmpi.so.12")
    os.mkfifo(image / "etc/ld.so.conf")
    (image / "usr/bin").mkdir()
    os.mkfifo(image / "usr/bin/mpiexec")

    you.reads(image)

    assert "secret" not in you.check(image).stdout


@pytest.mark.attack(
    "puts escape sequences for your terminal into names, versions and errors",
    r"text: they are shown as `\x1b`",
)
def test_escape_sequences(you: You, tmp_path: Path) -> None:
    escape = "\x1b]0;yours\x07\x1b[2J\x9b31m\u202e"
    upper = tar(
        [
            ("etc/os-release", f'PRETTY_NAME="A{escape}B"\n'.encode()),
            (f"opt/mpi{escape}/lib/libmpi.so.12", b"\x7fELF"),
            ("usr/lib/libmpi.so.1", link("/opt/*mpi*/lib/libmpi.so.12")),
        ]
    )
    image = docker(tmp_path / "image.tar", tar(base()), upper)
    names = json.dumps([{"Layers": [escape]}]).encode()

    told = [
        you.check(image).stdout,
        you.check(image, "--json").stdout,
        you.refuses(docker(tmp_path / "none.tar", manifest=names)),
    ]

    for text in told:
        assert all(each.isprintable() for each in text.replace("\n", ""))
        assert r"\x1b" in text or r"\u001b" in text


@pytest.mark.attack(
    "builds an image with an invalid table of contents",
    "an error that says what is wrong with it, and status 78",
)
@pytest.mark.parametrize(
    "manifest",
    [
        b"[]",
        b"{}",
        b'{"Layers": 7}',
        b'[{"Layers": 7}]',
        b'[{"Layers": [7]}]',
        b'[{"Layers": {"a": 1}}]',
        b"[[]]",
        b"7",
        b"null",
        b'"text"',
        b'[{"Layers": ["a"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"[" + b"1" * 5000 + b"]",
        b'[{"Layers": ["not there"]}]',
        b'[{"Layers": [""]}]',
        b'[{"Layers": ["\\u0000"]}]',
        b'[{"Layers": ["manifest.json"]}]',
        b" " * (5 << 20) + b"[]",
    ],
    ids=lambda manifest: repr(manifest[:24]),
)
def test_tables_of_contents_that_are_none(
    you: You, tmp_path: Path, manifest: bytes
) -> None:
    you.refuses(docker(tmp_path / "image.tar", manifest=manifest))
