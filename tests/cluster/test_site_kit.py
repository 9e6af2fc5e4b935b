"""What recipes/site/ gives a site: command, preset, trial."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.jobs import SIF, Jobs, told

KIT = Path(__file__).resolve().parents[2] / "recipes/site"
NODES = ("login", "c1", "c2")

# What srun says of a second step, where Slurm still clears the first.
STRAY = r"srun: .*"

INSTALL_SECONDS = 600
ROOT_OF_APPS = "/apps/dask-runner/0.2.0"


@pytest.fixture
def kit(jobs: Jobs) -> Jobs:
    """The site's directory of one version, in the jobs' own: image, bin, trial."""
    jobs.shell("sh", "-c", f"mkdir bin && ln -s {SIF} dask-runner.sif")
    jobs.write("bin/dask-runner", (KIT / "dask-runner").read_text())
    jobs.write("verify.sh", (KIT / "verify.sh").read_text())
    jobs.shell("chmod", "+x", "bin/dask-runner", "verify.sh")
    for name in ("bin", "dask-runner.sif"):
        jobs.makes(name)
    return jobs


@pytest.fixture
def preset(jobs: Jobs) -> Iterator[Any]:
    """Write /etc/dask/dask-runner.yaml on all nodes, removed afterwards."""

    def write(text: str) -> None:
        for node in NODES:
            line = f"mkdir -p /etc/dask && printf %s '{text}' > /etc/dask/x.yaml"
            done = jobs.cluster.run(line, node=node, user="root", timeout=60)
            assert done.returncode == 0, told(done)

    yield write
    for node in NODES:
        jobs.cluster.run("rm -rf /etc/dask", node=node, user="root", timeout=60)


def verify(kit: Jobs, **more: str) -> Any:
    """Run the trial with the site's command first on PATH."""
    path = f"{kit.directory}/bin:/usr/local/bin:/usr/bin:/bin"
    return kit.start("./verify.sh", env={"PATH": path, **more}).wait(stray=STRAY)


def test_the_trial_passes_on_a_site_that_works(kit: Jobs, preset: Any) -> None:
    preset("runner: {timeout: 181, fixed: {security: tls}}\n")

    done = verify(kit)

    assert done.returncode == 0, told(done)
    assert "pass: info: the defaults in /etc/dask are valid\n" in done.stdout, told(
        done
    )
    assert "pass: a Dask script ran on two nodes: c1 c2\n" in done.stdout, told(done)
    assert "note: MpiDefault=none: " in done.stdout, told(done)
    assert done.stdout.endswith("verify.sh: passed\n"), told(done)
    shown = kit.shell("bin/dask-runner", "info")
    (line,) = (row for row in shown.splitlines() if row.split()[:1] == ["timeout"])
    assert line.split()[1:3] == ["181.0", "(/etc/dask/x.yaml,"], shown
    wish = f"IMAGE={SIF} bin/dask-runner --security none x.py 2>&1; echo $?"
    refused = kit.shell("sh", "-c", wish)
    assert "--security = 'none', which this site has fixed" in refused
    assert "/etc/dask/x.yaml, runner.fixed.security says" in refused
    assert refused.split()[-1] == "78", refused
    bare = kit.shell("apptainer", "run", SIF, "info")
    assert "the host's is not seen in here, unless: apptainer run --bind" in bare
    recipe = kit.shell("bin/dask-runner", "recipe", "--like-host")
    assert "# for Debian GNU/Linux" in recipe, recipe


def test_the_trial_says_of_an_image_that_is_missing_what_to_do(kit: Jobs) -> None:
    done = verify(kit, IMAGE="/images/no-such.sif")

    assert done.returncode == 1, told(done)
    assert done.stdout.count("FAIL: ") == 2, told(done)
    assert "cannot read the image /images/no-such.sif" in done.stdout, told(done)
    for part in ("saw", "needed", "you can"):
        assert done.stdout.count(f"\n  {part}: ") == 2, told(done)
    assert done.stdout.endswith("verify.sh: FAILED\n"), told(done)


@pytest.mark.heavy
def test_a_default_that_is_wrong_is_told_by_the_trial(kit: Jobs, preset: Any) -> None:
    preset("runner: {timeout: soon}\n")

    done = verify(kit)

    assert done.returncode == 1, told(done)
    assert "FAIL: info: the site's defaults (status 78)" in done.stdout, told(done)
    assert "/etc/dask/x.yaml, runner.timeout = 'soon'" in done.stdout, told(done)


@pytest.mark.heavy
@pytest.mark.timeout(2 * INSTALL_SECONDS)
@pytest.mark.parametrize(
    ("package", "start", "file"),
    [
        ("lmod", "/usr/share/lmod/lmod/init/bash", ("module.lua", "0.2.0.lua")),
        (
            "environment-modules",
            "/usr/share/modules/init/bash",
            ("module.tcl", "0.2.0"),
        ),
    ],
)
def test_the_module_gives_image_and_command_and_takes_them_back(
    engine: Any, build: Any, package: str, start: str, file: tuple[str, str]
) -> None:
    from containers.base_image import BASE  # noqa: PLC0415  needs the Docker SDK

    assert build  # it has made sure of the base image
    mine, named = file
    line = f"""
        apt-get update -q && apt-get install -qy --no-install-recommends {package}
        install -D /kit/{mine} /apps/modulefiles/dask-runner/{named}
        install -D /kit/dask-runner {ROOT_OF_APPS}/bin/dask-runner
        source {start}
        module use /apps/modulefiles
        module load dask-runner
        echo "now $IMAGE $(command -v dask-runner)"
        module unload dask-runner
        echo "then [${{IMAGE-}}] [$(command -v dask-runner)]"
    """
    container = engine.containers.run(
        BASE,
        ["bash", "-c", line],
        network_mode="host",
        volumes={str(KIT): {"bind": "/kit", "mode": "ro"}},
        detach=True,
    )
    try:
        container.wait(timeout=INSTALL_SECONDS)
        said = container.logs().decode().splitlines()
    finally:
        container.remove(force=True)
    now = f"now {ROOT_OF_APPS}/dask-runner.sif {ROOT_OF_APPS}/bin/dask-runner"
    assert said[-2:] == [now, "then [] []"], "\n".join(said[-30:])
