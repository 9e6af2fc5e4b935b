"""The script of each system: valid there, and recognised by our own detection.

It is one file because nearly every test runs for each row of one table of systems.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_runner.batch import job_script, submit
from dask_runner.batch.job_script import Job
from dask_runner.batch.systems import BY_NAME, SYSTEMS, System
from dask_runner.errors import ConfigError, RunnerError, UsageError
from dask_runner.launch.detect import LAUNCHERS, detect
from tests.unit.batch.test_quoting import expanded, submitted, words_of
from tests.unit.batch.values import ARGS, TEXT

SCHEMAS = json.loads(
    (Path(__file__).parents[2] / "data/batch/schemas.json").read_text()
)
#: What a script cannot do without, by the site or the user.
SITE = {
    "image": "/apps/dask-runner.sif",
    "cpus_per_task": 8,
    "mem": "64GiB",
    "sge": {"parallel_environment": "mpi"},
    "awsbatch": {"file_system": "fs-12345678"},
    "kubernetes": {"claim": "home"},
    "jobset": {"claim": "home"},
    "leaderworkerset": {"claim": "home"},
}
FULL = {
    "nodes": "4",
    "cpus_per_task": "8",
    "gpus_per_node": "2",
    "mem": "64GiB",
    "time": "1-00:00:00",
    "job_name": "lab",
    "partition": "batch",
    "account": "geo",
    "output": "lab.log",
    "prologue": ("module load apptainer",),
    "directive": ("an option",),
    "launcher": "start them",
    "container": "/bin/singularity run --nv",
}
SHELLS = [system for system in SYSTEMS if not system.from_registry][:-1]
CLOUDS = [system for system in SYSTEMS if system.from_registry]
ALL = pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
IN_KUBERNETES = pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("kubernetes", "Job"),
        ("jobset", "JobSet"),
        ("leaderworkerset", "LeaderWorkerSet"),
    ],
)


def written(
    name: str,
    *args: str,
    given: dict[str, Any] | None = None,
    site: dict[str, Any] | None = None,
    **how: Any,
) -> str:
    job = Job(BY_NAME[name], args or ("script.py",), given or {}, **how)
    return job_script.make(job, SITE if site is None else site, {}).decode()


def full(system: System) -> dict[str, Any]:
    """Return all options that a system's template uses."""
    used = {}
    for key, value in FULL.items():
        try:
            written(system.name, given={key: value})
        except UsageError:
            continue
        used[key] = value
    return used


def valid(document: Any, schema: str) -> None:
    """Fail if a document is not as its schema says."""
    whole = SCHEMAS | {"$ref": f"#/$defs/{schema}"}
    jsonschema.Draft202012Validator(whole).validate(document)


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the containers of a document of Kubernetes, wherever they are."""
    return [one for pod in pods(document) for one in pod["containers"]]


def pods(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a document of Kubernetes says of pods, wherever it does."""
    if "containers" in document:
        return [document]
    found = []
    for value in document.values():
        for one in value if isinstance(value, list) else [value]:
            found += pods(one) if isinstance(one, dict) else []
    return found


@ALL
def test_a_script_ends_with_one_line_break_and_has_no_empty_places(
    system: System,
) -> None:
    for options in ({}, full(system)):
        text = written(system.name, given=options)

        assert text.endswith("\n")
        assert not text.endswith("\n\n")
        assert "\n\n\n" not in text
        assert not re.search(r"[ \t]$", text, re.MULTILINE)
        assert "{{" not in text
        assert "{%" not in text


@pytest.mark.parametrize("system", SHELLS, ids=lambda system: system.name)
def test_its_directives_come_before_the_first_command(system: System) -> None:
    prefix = {"slurm": "#SBATCH", "sge": "#$", "lsf": "#BSUB"}.get(
        system.name, f"#{system.name.upper()}"
    )
    lines = written(system.name, given=full(system)).splitlines()

    assert lines[0] == "#!/bin/sh"
    directives = [at for at, line in enumerate(lines) if line.startswith(f"{prefix} ")]
    assert directives == list(range(1, len(directives) + 1))
    assert len(directives) > 5
    assert f"{prefix} an option" in lines


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("slurm", "#SBATCH --time=1-00:00:00"),
        ("slurm", "#SBATCH --mem=65536M"),
        (
            "pbs",
            "#PBS -l select=4:ncpus=8:mpiprocs=1:mem=65536mb:ngpus=2",
        ),
        ("pbs", "#PBS -l walltime=24:00:00"),
        ("lsf", "#BSUB -W 24:00"),
        ("lsf", '#BSUB -R "rusage[mem=65536MB/host]"'),
        ("lsf", '#BSUB -R "affinity[core(8)]"'),
        ("sge", "#$ -l h_rt=86400"),
        ("sge", "#$ -pe mpi 32"),
        ("sge", "#$ -l h_vmem=8192M"),
        ("oar", "#OAR -l /nodes=4/core=8,walltime=24:00:00"),
        ("htcondor", "allowed_job_duration = 86400"),
        ("htcondor", "request_memory = 65536"),
        ("htcondor", "executable = /bin/singularity"),
        ("kubernetes", "  activeDeadlineSeconds: 86400"),
        ("kubernetes", "              memory: 65536Mi"),
        ("awsbatch", '  "timeout": {"attemptDurationSeconds": 86400},'),
    ],
)
def test_time_and_memory_are_in_the_words_of_the_system(name: str, line: str) -> None:
    text = written(name, given=full(BY_NAME[name]))

    assert line in text.splitlines()


def test_a_job_without_options_asks_for_one_node() -> None:
    site = {"image": "x.sif"}

    assert "#SBATCH --nodes=1\n" in written("slurm", site=site)
    assert "#PBS -l select=1:ncpus=1:mpiprocs=1\n#PBS -l place" in written(
        "pbs", site=site
    )
    assert "#OAR -l /nodes=1\n" in written("oar", site=site)


def test_without_an_image_the_job_runs_what_is_on_its_path() -> None:
    text = written("slurm", "serve", site={}, no_image=True)

    assert text.endswith("\nexec srun dask-runner serve\n")
    assert "image" not in text


def test_a_site_may_start_ranks_and_images_in_its_own_way() -> None:
    given = {
        "launcher": "srun --mpi=pmix",
        "container": "singularity run --bind '/a b'",
    }

    text = written("slurm", "-m", "mod", given=given)

    assert text.endswith(
        "\nexec srun --mpi=pmix singularity run --bind '/a b' "
        "/apps/dask-runner.sif -m mod\n"
    )


#: Where the pods share no directory.
APART: dict[str, Any] = {"image": "x/y:1", "cpus_per_task": 2, "mem": "4GiB"}


@IN_KUBERNETES
def test_kubernetes_takes_the_document(name: str, schema: str) -> None:
    for options in ({}, full(BY_NAME[name])):
        document = yaml.safe_load(
            written(name, given=options, extra=("namespace=lab",))
        )

        assert document["metadata"]["namespace"] == "lab"
        valid(document, schema)


@IN_KUBERNETES
def test_pods_are_fit_for_a_namespace_that_forbids_root(name: str, schema: str) -> None:
    """As the Pod Security Standard "restricted" has it."""
    document = yaml.safe_load(written(name, extra=("uid=2000", "gid=3000")))

    valid(document, schema)
    for pod in pods(document):
        context = pod["securityContext"]
        assert (context["runAsNonRoot"], context["runAsUser"]) == (True, 2000)
        assert (context["runAsGroup"], context["fsGroup"]) == (3000, 3000)
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("uid", ["0", "-1", "me", "1.5", "1\n  runAsUser: 0"])
def test_pods_never_run_as_root_by_a_wrong_number(uid: str) -> None:
    with pytest.raises(ConfigError, match="a user ID other than 0"):
        written("kubernetes", extra=(f"uid={uid}",))


@IN_KUBERNETES
def test_pods_that_share_no_directory_meet_at_the_first(name: str, schema: str) -> None:
    text = written(name, site=APART, extra=("secret=lab",), given={"job_name": "demo"})

    document, *others = yaml.safe_load_all(text)

    valid(document, schema)
    [container] = containers(document)
    env = {one["name"]: one for one in container["env"]}
    assert (
        env["DASK_RUNNER__MEET"]["value"]
        == {
            "kubernetes": "tcp://demo-0.demo:7700",
            "jobset": "tcp://demo-ranks-0-0.demo:7700",
            "leaderworkerset": "tcp://$(LWS_LEADER_ADDRESS):7700",
        }[name]
    )
    key = {"name": "lab", "key": "secret"}
    assert env["DASK_RUNNER__SECRET"]["valueFrom"] == {"secretKeyRef": key}
    assert "volumeMounts" not in container
    for service in others:
        valid(service, "Service")
    # JobSet and LeaderWorkerSet make the service of their pods themselves.
    assert [one["metadata"]["name"] for one in others] == ["demo"] * (
        name == "kubernetes"
    )
    assert document["spec"].get("template", {}).get("spec", {}).get("subdomain") == (
        "demo" if others else None
    )


def test_nodes_of_aws_that_share_no_directory_meet_at_the_main_one() -> None:
    own = ("secret=arn:aws:secretsmanager:x", "execution_role=arn:aws:iam::1:role/x")

    document = json.loads(written("awsbatch", site=APART, extra=own))

    valid(document, "RegisterJobDefinition")
    [group] = document["nodeProperties"]["nodeRangeProperties"]
    assert group["container"]["environment"][0]["value"] == (
        "tcp://$AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS:7700"
    )
    assert "volumes" not in group["container"]


def test_aws_batch_takes_the_document() -> None:
    own = ("instance_type=p4d", "job_role=arn:aws:iam::1:role/x")
    short = full(BY_NAME["awsbatch"]) | {"time": "30s"}
    for options, extra in (({}, ()), (short, own)):
        document = json.loads(written("awsbatch", given=options, extra=extra))

        valid(document, "RegisterJobDefinition")
        if options:
            # AWS refuses less.
            assert document["timeout"] == {"attemptDurationSeconds": 60}


def test_the_schemas_refuse_what_is_wrong() -> None:
    document = json.loads(written("awsbatch"))

    with pytest.raises(jsonschema.ValidationError, match="typo"):
        valid(document | {"typo": 1}, "RegisterJobDefinition")
    document = yaml.safe_load(written("jobset"))
    document["spec"]["replicatedJobs"][0]["template"]["spec"]["completions"] = "4"
    with pytest.raises(jsonschema.ValidationError, match="'4' is not"):
        valid(document, "JobSet")


@pytest.mark.parametrize("system", SHELLS, ids=lambda system: system.name)
def test_the_launcher_of_the_script_is_one_that_we_recognise(system: System) -> None:
    if system.name == "slurm":
        text = written(system.name)
    else:
        text = written(system.name, given={"launcher": ["mpiexec"]})
    last = text.splitlines()[-1].removeprefix("exec ").split()[0]

    starts = {row.start.split()[0] for row in LAUNCHERS if row.name in system.launchers}
    alike = {"mpirun": "mpiexec"}
    assert last in {alike.get(word, word) for word in starts}


def test_the_launchers_of_the_table_are_those_of_the_detection() -> None:
    known = {row.name for row in LAUNCHERS}

    assert {name for system in SYSTEMS for name in system.launchers} <= known


@IN_KUBERNETES
def test_a_pod_of_kubernetes_finds_its_place(name: str, schema: str) -> None:
    del schema
    document = yaml.safe_load(written(name, given={"nodes": "3"}))
    [container] = containers(document)
    #: As the documentation of Kubernetes and of LeaderWorkerSet names them.
    labels = {
        "batch.kubernetes.io/controller-uid": "uid",
        "leaderworkerset.sigs.k8s.io/group-key": "uid",
        "leaderworkerset.sigs.k8s.io/worker-index": "2",
    }
    environ = {"JOB_COMPLETION_INDEX": "2"} if name != "leaderworkerset" else {}
    for variable in container["env"]:
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", "")
        label = field.removeprefix("metadata.labels['").removesuffix("']")
        environ[variable["name"]] = variable.get("value") or labels[label]

    world = detect(environ)

    assert world
    assert (world.launcher, world.rank, world.size) == ("kubernetes", 2, 3)
    assert (world.job_id, world.meeting) == ("uid", "file")
    assert environ["HOME"] == container["volumeMounts"][0]["mountPath"]


def test_a_slot_of_htcondor_finds_its_place() -> None:
    text = written("htcondor", given={"nodes": "3"})
    found = dict(re.findall(r"(?m)^(\S+) = (.*)$", text))
    name, _, value = found["environment"].strip('"').partition("=")
    # As the parallel universe sets them.
    environ = {"_CONDOR_PROCNO": "2", "_CONDOR_NPROCS": found["machine_count"]}

    world = detect(environ | {name: value.replace("$(ClusterId)", "7")})

    assert world
    assert (world.launcher, world.rank, world.size) == ("htcondor", 2, 3)
    assert world.job_id == "7"


@settings(max_examples=30)
@given(ARGS)
def test_containers_get_the_arguments_as_they_were_given(args: list[str]) -> None:
    for system in CLOUDS:
        text = written(system.name, "script.py", *args)
        if system.name == "awsbatch":
            [group] = json.loads(text)["nodeProperties"]["nodeRangeProperties"]
            assert group["container"]["command"] == ["script.py", *args]
        else:
            [container] = containers(yaml.safe_load(text))
            assert list(map(expanded, container["args"])) == ["script.py", *args]


@settings(max_examples=30)
@given(ARGS)
def test_htcondor_gets_the_arguments_as_they_were_given(args: list[str]) -> None:
    try:
        text = written("htcondor", "script.py", *args)
    except ConfigError:
        assert not all(arg.isprintable() for arg in args)
        return
    [line] = [line for line in text.splitlines() if line.startswith("arguments = ")]
    assert len(text.splitlines()) == len(written("htcondor").splitlines())
    assert words_of(submitted(line.removeprefix("arguments = "))) == [
        "run",
        "/apps/dask-runner.sif",
        "script.py",
        *args,
    ]


@settings(max_examples=60)
@given(
    st.sampled_from(["job_name", "partition", "account", "output", "image"]),
    TEXT,
    st.sampled_from(SYSTEMS),
)
def test_no_value_becomes_a_line_of_its_own(
    key: str, text: str, system: System
) -> None:
    try:
        want = written(system.name, given={key: "x"})
        made = written(system.name, given={key: text})
    except RunnerError:
        return
    # An image is a word of a shell, in which a break of a line is one of a word.
    own = text.count("\n") if key == "image" and system in SHELLS else 0
    count = len(re.findall("\n", made)) - len(re.findall("\n", want))
    assert count in {own, 2 * own}


@ALL
def test_a_variable_without_a_value_is_told_in_three_parts(system: System) -> None:
    with pytest.raises(ConfigError, match="which has no value") as caught:
        written(system.name, site={})

    assert caught.value.do.startswith("give --")
    assert f"runner.job.{system.name}" in caught.value.do


def test_an_image_that_has_no_value_may_be_left_out() -> None:
    with pytest.raises(ConfigError) as caught:
        written("slurm", site={})

    assert "needs image" in caught.value.saw
    assert "--no-image" in caught.value.do


def test_a_name_that_is_no_unicode_stays_as_it_is_in_a_shell() -> None:
    job = Job(BY_NAME["slurm"], ("caf\udce9.py",))

    assert b"'caf\xe9.py'" in job_script.make(job, SITE, {})


def test_an_unknown_system_is_told_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no batch system 'slrum'") as caught:
        job_script.system_of("slrum")

    assert "slurm, pbs, lsf" in caught.value.needed
    assert job_script.system_of("slurm") is BY_NAME["slurm"]


def test_a_template_can_be_shown_and_is_what_a_site_starts_from(tmp_path: Path) -> None:
    for system in SYSTEMS:
        text = job_script.template(Job(system), {}, {})
        (tmp_path / system.template).write_bytes(text)
        assert written(system.name, given={"templates": str(tmp_path)}) == written(
            system.name
        )


def test_what_the_commands_need_is_told_before_one_of_them_runs() -> None:
    assert submit.needed(BY_NAME["awsbatch"]) == {"job_name", "partition"}
    job = Job(BY_NAME["awsbatch"], ("script.py",))
    here = {"PATH": str(Path(__file__).parent)}

    with pytest.raises(ConfigError, match="no aws on the PATH"):
        job_script.submitted(job, SITE, here, 1, print)


def test_the_docs_have_a_row_for_each_system() -> None:
    root = Path(__file__).resolve().parents[3]
    page = (root / "docs/how-to/job-scripts.md").read_text()
    marked = page.partition("<!-- systems -->")[2].partition("<!-- end -->")[0]
    rows = [
        [cell.strip().replace("\0", "|") for cell in line.split("|")[1:-1]]
        for line in marked.replace("\\|", "\0").splitlines()[3:]
    ]

    assert [(row[0], row[1]) for row in rows] == [
        (f"`{system.name}`", system.title) for system in SYSTEMS
    ]
    assert [row[3].replace("`", "") for row in rows] == [
        system.by_hand for system in SYSTEMS
    ]


@pytest.mark.parametrize("name", ["pbs", "kubernetes"])
def test_a_system_that_cannot_queue_a_job_again_refuses_it_at_once(name: str) -> None:
    with pytest.raises(UsageError, match="--requeue-before in a job of"):
        written(name, requeues=True)


def test_a_job_that_slurm_may_queue_again_keeps_what_it_has_printed() -> None:
    lines = written("slurm", requeues=True).splitlines()
    assert {"#SBATCH --requeue", "#SBATCH --open-mode=append"} <= set(lines)
    assert "#SBATCH --requeue" not in written("slurm").splitlines()
