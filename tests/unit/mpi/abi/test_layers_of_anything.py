"""Images such as nobody would write: read or refused, with all outside as it was."""

import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dask_runner.errors import RunnerError
from dask_runner.mpi.abi import inventory, unpack
from dask_runner.printable import printable
from tests.strangers_images import (
    docker,
    layout,
    link,
    tar,
    tree,
)

PARTS = st.sampled_from(
    [
        *("usr", "lib", "etc", "opt", "mpi", "bin", "a", "..", ".", "", "\x1b[2J", "ü"),
        *("libmpi.so.12", "libc.so.6", "ld.so.conf", "os-release", "mpiexec"),
        *(".wh.", ".wh..", ".wh...", ".wh..wh..opq", ".wh.usr", ".wh.lib", ".wh..wh."),
        *("victim", "tmp", "home", "n" * 256, "\udcff", ".wh.a/..", ".wh./"),
    ]
)
PATHS = st.builds(
    lambda begin, parts: begin + "/".join(parts),
    st.sampled_from(
        ["", "/", "./", "../", "../" * 20, "VICTIM/", "../" * 20 + "VICTIM/"]
    ),
    st.lists(PARTS, max_size=5),
)
KINDS = st.sampled_from(
    [
        *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE),
        *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
        *(tarfile.CONTTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
        *(tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, tarfile.XGLTYPE, b"Z"),
    ]
)
CONTENTS = st.one_of(
    st.binary(max_size=1100),
    st.sampled_from(
        [
            b"\x7fELF" + bytes(600),
            b"include /etc/*\n/usr/*/\x00\n/" + b"*/" * 40,
            b'PRETTY_NAME="\x1b]0;x\x07"',
            b"PluginDir=/*/*/*:\xff\n",
        ]
    ),
)
ENTRIES = st.fixed_dictionaries(
    {
        "name": PATHS,
        "type": KINDS,
        "linkname": PATHS,
        "mode": st.sampled_from([0, 0o644, 0o7777]),
        "content": CONTENTS,
        "more": st.sampled_from([0, 0, 0, -1, 1, 1 << 20, 1 << 33, 1 << 62]),
        "pax_headers": st.dictionaries(
            st.sampled_from(
                [
                    "size",
                    "path",
                    "linkpath",
                    "GNU.sparse.map",
                    "GNU.sparse.size",
                    "GNU.sparse.major",
                    "GNU.sparse.minor",
                    "hdrcharset",
                    "mtime",
                ]
            ),
            st.sampled_from(
                ["0", "-512", "1", "99999999999999", "VICTIM/a", "0,1", ""]
            ),
            max_size=2,
        ),
    }
)


def raw(entries: list[dict[str, Any]], victim: Path) -> bytes:
    """Return a tar file with headers that do not fit to their contents."""
    data = b""
    for entry in entries:
        member = tarfile.TarInfo(entry["name"].replace("VICTIM", str(victim)))
        member.linkname = entry["linkname"].replace("VICTIM", str(victim))
        member.type, member.mode = entry["type"], entry["mode"]
        member.size = max(0, len(entry["content"]) + entry["more"])
        member.pax_headers = {
            key: value.replace("VICTIM", str(victim))
            for key, value in entry["pax_headers"].items()
        }
        form = tarfile.PAX_FORMAT if member.pax_headers else tarfile.GNU_FORMAT
        data += member.tobuf(form, "utf-8", "surrogateescape")
        data += entry["content"].ljust(-(-len(entry["content"]) // 512) * 512, b"\0")
    return data + bytes(1024)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Return a temporary directory, and a directory with things that are yours."""
    top = tmp_path_factory.mktemp("strangers")
    scratch, victim = top / "tmp", top / "victim"
    for path in (scratch / "yours", victim / "a/victim"):
        path.mkdir(parents=True)
        (path / "thesis.dat").write_text("years")
    (victim / "link").symlink_to("a")
    with mock.patch.object(tempfile, "tempdir", str(scratch)):
        yield scratch, victim


def safe(places: tuple[Path, Path], image: Path) -> None:
    """Read an image, or refuse it, with all outside as it was."""
    scratch, victim = places
    mine, before = tree(scratch / "yours"), tree(victim)
    try:
        with unpack.opened(str(image)) as root:
            facts = inventory.take(root, (), "image")
            assert all(each.isprintable() for each in printable(facts.system))
    except RunnerError as error:
        assert error.saw  # noqa: PT017  either is right
        assert error.needed  # noqa: PT017
        assert error.do  # noqa: PT017
        assert str(error).replace("\n", "").isprintable()  # noqa: PT017
    assert (tree(scratch / "yours"), tree(victim)) == (mine, before)
    assert [path.name for path in scratch.iterdir()] == ["yours"]


ANYTHING = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)


@ANYTHING
@given(st.lists(st.lists(ENTRIES, max_size=6), min_size=1, max_size=3))
def test_layers_of_anything_touch_nothing_outside(
    places: tuple[Path, Path], stacked: list[list[dict[str, Any]]]
) -> None:
    image = places[0].parent / "image.tar"
    docker(image, *(raw(entries, places[1]) for entries in stacked))

    safe(places, image)


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(["sha256:aa", "0/layer.tar", "/dev/zero", "..", "\x1b[2J", ""]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["Layers", "manifests", "layers", "digest", "x"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@ANYTHING
@given(JSON, JSON, st.integers(0, 400))
@example([{"Layers": ["aa"]}], {}, 400)
@example({}, {"manifests": [{"digest": "sha256:aa"}]}, 400)
def test_tables_of_contents_of_any_shape_are_read_or_refused(
    places: tuple[Path, Path], table: Any, blob: Any, cut: int
) -> None:
    files = {
        "index.json": json.dumps(table).encode()[:cut],
        "blobs/sha256/aa": json.dumps(blob).encode(),
    }
    image = layout(places[0].parent / "layout", files)

    safe(places, image)
    safe(
        places, docker(image.with_suffix(".tar"), manifest=files["index.json"] or b" ")
    )


@ANYTHING
@given(st.data())
def test_damaged_images_are_read_or_refused(
    places: tuple[Path, Path], data: st.DataObject
) -> None:
    image = places[0].parent / "image.tar"
    good = [("usr/lib/libmpi.so.12", b"\x7fELF" + bytes(200)), ("a", link("/usr"))]
    docker(image, tar(good, tarfile.PAX_FORMAT))
    damaged = bytearray(image.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # Where the headers and the table are, and not the padding.
        at = data.draw(st.integers(0, 4000))
        damaged[at : at + 1] = data.draw(st.binary(min_size=1, max_size=3))
    image.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])

    safe(places, image)
