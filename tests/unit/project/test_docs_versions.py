"""The site has a folder for each version, and leads to the newest."""

import json
from pathlib import Path

import pytest

from docs.versions import put


def test_the_newest_release_is_the_one_that_is_shown_first(tmp_path: Path) -> None:
    built, site = tmp_path / "built", tmp_path / "site"
    built.mkdir()
    site.mkdir()
    (built / "index.html").write_text("pages")
    for version in ("v0.9.0", "dev", "v0.10.0"):
        put(built, site, version, "https://pages.example/")

    told = json.loads((site / "switcher.json").read_text())
    assert [row["version"] for row in told] == ["v0.10.0", "v0.9.0", "dev"]
    assert told[1]["url"] == "https://pages.example/v0.9.0/"
    assert [row["preferred"] for row in told] == [True, False, False]
    assert "url=v0.10.0/" in (site / "index.html").read_text()
    assert (site / "v0.9.0/index.html").read_text() == "pages"


def test_a_name_that_leads_elsewhere_is_no_version(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no version"):
        put(tmp_path, tmp_path, "../v1", "/")
