"""The preset of recipes/site/ is valid, with what is a comment in it as well."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_runner.batch import job_script
from dask_runner.batch.job_script import Job
from dask_runner.batch.systems import BY_NAME
from dask_runner.launch import fixed
from dask_runner.launch.options import BY_KEY
from dask_runner.launch.settings import JOB, Setting, of_jobs, settle

PRESET = Path(__file__).resolve().parents[3] / "recipes/site/dask-runner.yaml"
#: A key that is off: `# interface: ib0`. Sentences have a capital or no colon.
OFF = re.compile(r"^  # ( *[a-z-]+:(?: \S.*)?)$", re.MULTILINE)


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["runner"]
    return found


@pytest.mark.parametrize(
    "text", [PRESET.read_text(), OFF.sub(r"  \1", PRESET.read_text())]
)
def test_each_key_of_the_preset_is_an_option_with_a_valid_value(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(text)
    of_jobs(found.pop(JOB, None))
    own = [(Path("/etc/dask/x.yaml"), {"runner": {fixed.KEY: found.pop("fixed", {})}})]
    monkeypatch.setattr(fixed, "doubt", lambda _: "")
    sites = {key: Setting(value, at) for key, (value, at) in fixed.read(own).items()}

    settings = settle(
        {},
        {key.replace("-", "_"): Setting(value, key) for key, value in found.items()}
        | {key: Setting(None, site.source, site) for key, site in sites.items()},
    )

    assert settings.timeout == 180
    assert {key.replace("-", "_") for key in found} <= set(BY_KEY)


def test_keys_that_are_off_are_seen_by_this_test() -> None:
    on = read(OFF.sub(r"  \1", PRESET.read_text()))

    own = {"timeout", "security", "interface", "local-directory", "ports", fixed.KEY}
    assert set(on) == own | {JOB}
    assert on[fixed.KEY] == {"security": "tls", "dashboard-address": None}
    assert set(on[JOB]) == {"container", "image", "time", "prologue", "slurm"}


def test_a_printed_job_of_the_site_sees_the_sites_defaults() -> None:
    preset = read(PRESET.read_text())
    job = Job(BY_NAME["slurm"], ("script.py",), {})

    text = job_script.make(job, preset[JOB] | {"image": "x.sif"}, {}).decode()

    assert "\nexec srun apptainer run --bind /etc/dask x.sif script.py\n" in text


def test_the_side_bars_factory_is_there() -> None:
    text = PRESET.with_name("jupyter.yaml").read_text()
    factory = yaml.safe_load(text)["labextension"]["factory"]

    assert getattr(import_module(factory["module"]), factory["class"])
