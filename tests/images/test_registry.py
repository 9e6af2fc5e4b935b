"""Images in a registry: a real server, on loopback, open and with a password."""

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.images.registries import BILL, LOCKED, OPEN, PASSWORD, REFUSED, USER, Server

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.xdist_group("registry"),
    pytest.mark.timeout(1800),
]


def test_the_bill_of_materials_is_attached_to_image_and_sif(
    engine: Any, pushed: dict[str, str], server: Server, row: Any
) -> None:
    from images.attachments import CYCLONEDX, Repository  # noqa: PLC0415

    source = server.registry()
    for kind in ("image", "sif"):
        digest = pushed[f"{source.repository(kind)}:{row.name}"]
        repository = Repository(engine, source, kind)
        assert repository.attached(digest, CYCLONEDX) == [BILL.encode()]
        assert repository.attached(digest, "text/plain") == []


def test_what_was_pushed_is_there_by_its_facts_and_by_its_name(
    pushed: dict[str, str], image: Any, server: Server, row: Any
) -> None:
    from images.registry import exact_tag  # noqa: PLC0415

    version = image.labels["org.opencontainers.image.version"]
    exact = exact_tag(image.labels, row)
    assert exact.startswith(f"{version}-openmpi5.")
    expected = sorted([exact, f"{version}-registry-test", "registry-test"])
    assert server.tags("dask-runner") == expected
    assert server.tags("dask-runner-sif") == expected
    assert all(digest.startswith("sha256:") for digest in pushed.values()), pushed


def test_images_with_the_same_mpi_have_tags_of_their_own(image: Any) -> None:
    from images import registry, table  # noqa: PLC0415

    tags = {registry.exact_tag(image.labels, row) for row in table.rows().values()}

    # Of the rows that differ by their MPI, each has other labels.
    assert len(tags) == len({row.adds for row in table.rows().values()})


def test_what_is_pulled_is_what_was_pushed(
    engine: Any,
    pushed: dict[str, str],
    image: Any,
    sif: Path,
    server: Server,
    row: Any,
    tmp_path: Path,
) -> None:
    from images import registry  # noqa: PLC0415

    del pushed
    copy = tmp_path / "copy.sif"
    source = server.registry()
    try:
        assert registry.pull(engine, source, row, copy).id == image.id
    finally:
        engine.images.remove(row.tag)
        engine.images.remove(f"{source.repository('image')}:{row.name}")
    assert copy.read_bytes() == sif.read_bytes()


def test_a_password_is_asked_for_and_taken(
    engine: Any,
    image: Any,
    sif: Path,
    serve: Callable[..., Server],
    row: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dask_runner.errors import ConfigError  # noqa: PLC0415
    from images import registry  # noqa: PLC0415
    from images.attachments import CYCLONEDX, Repository  # noqa: PLC0415

    locked = serve(LOCKED)
    nobody = locked.registry()
    somebody = locked.registry(user=USER, password=PASSWORD)
    copy = tmp_path / "copy.sif"
    with pytest.raises(ConfigError, match=REFUSED):
        registry.push(engine, nobody, row, image, sif)
    pushed = registry.push(engine, somebody, row, image, sif, BILL)
    digest = pushed[f"{somebody.repository('sif')}:{row.name}"]
    assert Repository(engine, somebody, "sif").attached(digest, CYCLONEDX) == [
        BILL.encode()
    ]
    with pytest.raises(ConfigError, match=REFUSED):
        Repository(engine, nobody, "sif").attached(digest, CYCLONEDX)
    with pytest.raises(ConfigError, match=REFUSED):
        registry.pull(engine, nobody, row, copy)
    assert not copy.exists()
    try:
        registry.pull(engine, somebody, row, copy)
    finally:
        for name in (row.tag, f"{somebody.repository('image')}:{row.name}"):
            engine.images.remove(name)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.sif"]

    # What `docker login` would keep, which the engine's client reads as well.
    word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    kept = {"auths": {locked.host: {"auth": word}}}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert Repository(engine, nobody, "sif").attached(digest, CYCLONEDX) == [
        BILL.encode()
    ]


def test_a_push_that_is_cut_short_moves_no_tag_and_can_be_done_again(
    engine: Any, serve: Callable[..., Server], image: Any, sif: Path, row: Any
) -> None:
    from containers.base_image import archive, build  # noqa: PLC0415  needs the Docker SDK
    from dask_runner.errors import ConfigError  # noqa: PLC0415
    from images import registry  # noqa: PLC0415

    # Of its own: it is another address after it was started again.
    server = serve(OPEN)
    before = registry.push(engine, server.registry(), row, image, sif)
    held = before[f"{server.address}/dask-runner:{row.name}"]
    # Another release: one more layer, and another version.
    recipe = f"FROM {image.id}\nRUN dd if=/dev/urandom of=/work/big bs=1M count=256\n"
    context = archive({"Dockerfile": recipe.encode()})
    labels = {"org.opencontainers.image.version": "99.0"}
    newer = build(engine, context, f"{row.tag}-next", labels=labels)
    cut = threading.Thread(target=_kill_in_an_upload, args=[server])
    cut.start()
    try:
        with pytest.raises(ConfigError):
            registry.push(engine, server.registry(), row, newer, sif)
        cut.join()
        server.start()
        assert not [tag for tag in server.tags("dask-runner") if tag.startswith("99")]
        name = f"{server.address}/dask-runner:{row.name}"
        assert engine.images.get_registry_data(name).id == held
        again = registry.push(engine, server.registry(), row, newer, sif)
        assert again[name] != held
        assert engine.images.get_registry_data(name).id == again[name]
    finally:
        cut.join()
        engine.images.remove(f"{row.tag}-next", force=True)


def _kill_in_an_upload(server: Server) -> None:
    """Kill a registry as soon as some of a layer is there, and not all."""
    uploads = "/srv/docker/registry/v2/repositories/group/dask-runner/_uploads"
    begun = f"until find {uploads} -type f -size +1M | grep -q .; do sleep 0.05; done"
    server.run("timeout", "300", "sh", "-c", begun)
    server.container.kill()
