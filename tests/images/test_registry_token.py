"""A registry that asks for tokens, as hosted ones do; everyone may pull there."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.images.registries import BILL, OPEN, PASSWORD, REFUSED, USER, Server
from tests.images.token_server import CERTIFICATE, Tokens, serving

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("registry"),
    pytest.mark.timeout(1800),
]

NAMES = {"group/dask-runner", "group/dask-runner-sif"}


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(USER, PASSWORD)


@pytest.fixture(scope="module")
def hosted(serve: Callable[..., Server], tokens: Tokens) -> Iterator[Server]:
    with serving(tokens) as auth:
        yield serve(OPEN | {"auth": auth}, {CERTIFICATE: tokens.pem})


@pytest.fixture(scope="module")
def owner(hosted: Server) -> Any:
    return hosted.registry(user=USER, password=PASSWORD)


@pytest.fixture(scope="module")
def of_the_owner(
    engine: Any, image: Any, sif: Path, owner: Any, row: Any
) -> dict[str, str]:
    from images import registry  # noqa: PLC0415  needs the Docker SDK

    return registry.push(engine, owner, row, image, sif, BILL)


def test_what_the_owner_pushes_everyone_pulls(
    engine: Any,
    image: Any,
    sif: Path,
    hosted: Server,
    of_the_owner: dict[str, str],
    tokens: Tokens,
    row: Any,
    tmp_path: Path,
) -> None:
    from images import registry  # noqa: PLC0415  needs the Docker SDK
    from images.attachments import CYCLONEDX, Repository  # noqa: PLC0415

    everyone = hosted.registry()
    copy = tmp_path / "copy.sif"
    assert {(USER, name) for name in NAMES} <= tokens.asked
    tokens.asked.clear()

    try:
        assert registry.pull(engine, everyone, row, copy).id == image.id
    finally:
        engine.images.remove(row.tag)
        engine.images.remove(f"{everyone.repository('image')}:{row.name}")
    assert copy.read_bytes() == sif.read_bytes()
    for kind in ("image", "sif"):
        digest = of_the_owner[f"{everyone.repository(kind)}:{row.name}"]
        found = Repository(engine, everyone, kind).attached(digest, CYCLONEDX)
        assert found == [BILL.encode()]
    assert tokens.asked == {("", name) for name in NAMES}


@pytest.mark.parametrize(
    "login",
    [{}, {"user": USER, "password": "another"}],
    ids=["nobody", "a wrong password"],
)
def test_nobody_else_pushes(
    engine: Any,
    image: Any,
    sif: Path,
    hosted: Server,
    of_the_owner: dict[str, str],
    row: Any,
    login: dict[str, str],
) -> None:
    from dask_runner.errors import ConfigError  # noqa: PLC0415
    from images import registry  # noqa: PLC0415  needs the Docker SDK
    from images.attachments import File, Repository  # noqa: PLC0415

    other = hosted.registry(**login)
    with pytest.raises(ConfigError, match=REFUSED):
        registry.push(engine, other, replace(row, name="of-another"), image, sif)
    digest = of_the_owner[f"{other.repository('image')}:{row.name}"]
    with pytest.raises(ConfigError, match=REFUSED):
        Repository(engine, other, "image").attach(
            digest, File("x", "text/plain", b"theirs")
        )
    assert hosted.run("find", "/srv", "-name", "*of-another*") == ""
