"""Kubernetes and AWS Batch, replayed: containers of the image, as a manifest has them.

The image, its processes, their network and the names on it are real, and so is the
document of ``dask-runner job``, from which arguments, variables, working directory and
volumes come. What the system would do is not: this starts a container for each pod, and
gives it the names, labels and variables that the documentation promises.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from dask_runner.batch import job_script
from dask_runner.batch.job_script import Job
from dask_runner.batch.systems import BY_NAME
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import docker

#: No claim, but what a busy machine may take.
SECONDS = 120
KILLED = 137
#: Kubernetes' terminationGracePeriodSeconds, and AWS Batch's when it ends a job.
GRACE_SECONDS = 30
#: What the Secret has, or Secrets Manager.
SECRET = "a secret of these pods alone"  # noqa: S105  of a test
#: What is the pod's, among what is the container's.
OF_POD = "pod's securityContext"
_REFERENCE = re.compile(r"\$(\$|\((\w+)\))")

Variables = dict[str, str]


@dataclass(frozen=True)
class Pod:
    """What a pod is called, and told by its system.

    Attributes
    ----------
    host : str
        Its host name.
    names : tuple of str
        Its names on the network.
    environ : mapping
    labels : mapping
        What the manifest's fields may ask for.
    """

    host: str
    names: tuple[str, ...]
    environ: Variables
    labels: Variables


@dataclass(frozen=True)
class System:
    """A system that starts containers.

    Attributes
    ----------
    name : str
        Its row of ``dask-runner job``.
    container : callable
        Returns the container of the document.
    pod : callable
        Returns the pod of a rank: from the job's name, its unique name, the rank, the
        number of ranks, and the address of the first pod.
    """

    name: str
    container: Callable[[Any], dict[str, Any]]
    pod: Callable[[str, str, int, int, str], Pod]


_OF_KUBERNETES = {"KUBERNETES_SERVICE_HOST": "192.0.2.1"}


def _of_job(name: str, uid: str, rank: int, size: int, first: str) -> Pod:
    # https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode
    del size, first
    host = f"{name}-{rank}"
    environ = {"JOB_COMPLETION_INDEX": str(rank), **_OF_KUBERNETES}
    labels = {"batch.kubernetes.io/controller-uid": uid}
    return Pod(host, (f"{host}.{name}",), environ, labels)


def _of_jobset(name: str, uid: str, rank: int, size: int, first: str) -> Pod:
    # https://jobset.sigs.k8s.io/docs/concepts/ ("DNS hostnames for pods"): the set has
    # one Job, called "ranks".
    del size, first
    host = f"{name}-ranks-0-{rank}"
    environ = {"JOB_COMPLETION_INDEX": str(rank), **_OF_KUBERNETES}
    labels = {"batch.kubernetes.io/controller-uid": uid}
    return Pod(host, (f"{host}.{name}",), environ, labels)


def _of_set(name: str, uid: str, rank: int, size: int, first: str) -> Pod:
    # https://lws.sigs.k8s.io/docs/reference/labels-annotations-and-environment-variables
    del first
    host = f"{name}-0-{rank}" if rank else f"{name}-0"
    environ = {
        "LWS_LEADER_ADDRESS": f"{name}-0.{name}.default",
        "LWS_GROUP_SIZE": str(size),
        "LWS_WORKER_INDEX": str(rank),
        **_OF_KUBERNETES,
    }
    labels = {
        "leaderworkerset.sigs.k8s.io/group-key": uid,
        "leaderworkerset.sigs.k8s.io/worker-index": str(rank),
    }
    return Pod(host, (f"{host}.{name}.default", f"{host}.{name}"), environ, labels)


def _of_aws(name: str, uid: str, rank: int, size: int, first: str) -> Pod:
    # https://docs.aws.amazon.com/batch/latest/userguide/mnp-env-vars.html: the main
    # node starts before the others, and has no variable of its own address.
    del name
    environ = {
        "AWS_BATCH_JOB_ID": f"{uid}#{rank}",
        "AWS_BATCH_JOB_ATTEMPT": "1",
        "AWS_BATCH_JOB_MAIN_NODE_INDEX": "0",
        "AWS_BATCH_JOB_NODE_INDEX": str(rank),
        "AWS_BATCH_JOB_NUM_NODES": str(size),
        "AWS_BATCH_CE_NAME": "compute",
        "AWS_BATCH_JQ_NAME": "queue",
    }
    if rank:
        environ["AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS"] = first
    return Pod(f"ip-{uid[:8]}-{rank}", (), environ, {})


def _of_pod(spec: Any) -> dict[str, Any]:
    """Return a pod's container, with what the pod says of users."""
    [container] = spec["containers"]
    return container | {OF_POD: spec["securityContext"]}


def _of_template(document: Any) -> dict[str, Any]:
    return _of_pod(document["spec"]["template"]["spec"])


KUBERNETES = System("kubernetes", _of_template, _of_job)
JOBSET = System(
    "jobset",
    lambda document: _of_template(document["spec"]["replicatedJobs"][0]["template"]),
    _of_jobset,
)
LEADER_WORKER_SET = System(
    "leaderworkerset",
    lambda document: _of_pod(
        document["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]
    ),
    _of_set,
)
AWS_BATCH = System(
    "awsbatch",
    lambda document: dict(
        document["nodeProperties"]["nodeRangeProperties"][0]["container"]
    ),
    _of_aws,
)


class Pods:
    """The containers of a job, the first rank's first.

    Parameters
    ----------
    containers : sequence of docker.models.containers.Container
    group : str
        What is unique to it.
    """

    def __init__(self, containers: Sequence[Any], group: str) -> None:
        self.containers = containers
        self.group = group

    @property
    def output(self) -> str:
        """What they have printed so far."""
        return "".join(one.logs().decode() for one in self.containers)

    def wait_for(self, text: str) -> None:
        """Wait until one has printed a text."""
        until(lambda: text in self.output, SECONDS, lambda: self.output, every=0.1)

    def delete(self) -> None:
        """Tell all to end, as one who deletes the job does."""
        for one in self.containers:
            one.reload()
            if one.status == "running":
                one.kill(signal="SIGTERM")

    def wait(self) -> list[int]:
        """Wait for their ends; return their statuses."""
        ends = [one.wait(timeout=SECONDS) for one in self.containers]
        return [int(end["StatusCode"]) for end in ends]


class Site:
    """A site of one system, with a network and a volume of its own.

    Parameters
    ----------
    client : docker.DockerClient
    image : str
        The tag of dask-runner's image.
    system : System
    shared : bool
        Whether the pods have a volume in common; otherwise they know a secret.
    """

    def __init__(
        self,
        client: docker.DockerClient,
        image: str,
        system: System,
        *,
        shared: bool,
    ) -> None:
        self._client = client
        self._image = image
        self.system = system
        self.shared = shared
        name = f"dask-runner-tests-{secrets.token_hex(4)}"
        self._network = client.networks.create(name)
        self._volume = client.volumes.create(name)
        self._containers: list[Any] = []
        if shared:
            self._open_volume()

    def _open_volume(self) -> None:
        """Make the volume as it comes: root's, and in Kubernetes open to fsGroup."""
        line = "chown 0:0 /work && chmod 755 /work"
        if self.system is not AWS_BATCH:
            told = self.system.container(self._document(("serve",), "demo", 1))
            line = f"chown 0:{told[OF_POD]['fsGroup']} /work && chmod 2775 /work"
        self._client.containers.run(
            self._image,
            ["-c", line],
            entrypoint="sh",
            user="0:0",
            volumes=[f"{self._volume.name}:/work"],
            remove=True,
        )

    def submit(
        self,
        *args: str,
        name: str = "demo",
        size: int = 2,
        group: str = "",
        **wrong: str,
    ) -> Pods:
        """Start what the document has; *wrong* are variables of the last pod alone."""
        uid, first = group or secrets.token_hex(16), ""
        started = []
        for rank in range(size):
            pod = self.system.pod(name, uid, rank, size, first)
            more = wrong if rank == size - 1 else {}
            started.append(self._start(self._document(args, name, size), pod, more))
            if not rank:
                first = self._address(started[0])
        return Pods(started, uid)

    def inside(self, pods: Pods, *args: str) -> str:
        """Run dask-runner in the first pod, as kubectl exec; return what it prints."""
        done = pods.containers[0].exec_run(["dask-runner", *args], demux=True)
        assert done.exit_code == 0, done
        return (done.output[0] or b"").decode()

    def stop(self, pods: Pods) -> None:
        """Stop the cluster, from the first pod."""
        done = pods.containers[0].exec_run(["dask-runner", "stop", "lab"], demux=True)
        # The pod ends with the cluster, and all in it.
        assert done.exit_code in (0, KILLED), done

    def _document(self, args: Sequence[str], name: str, size: int) -> Any:
        given = {
            "nodes": str(size),
            "image": self._image,
            "job_name": name,
            "cpus_per_task": "1",
            "mem": "1GiB",
        }
        extra = {
            (True, True): ["file_system=fs-1"],
            (True, False): ["secret=arn", "execution_role=arn"],
            (False, True): ["claim=home"],
            (False, False): ["secret=lab"],
        }[self.system is AWS_BATCH, self.shared]
        job = Job(BY_NAME[self.system.name], tuple(args), given, extra=tuple(extra))
        text = job_script.make(job, {}, {}).decode()
        if self.system is AWS_BATCH:
            return json.loads(text)
        return next(yaml.safe_load_all(text))

    def _start(self, document: Any, pod: Pod, more: Mapping[str, str]) -> Any:
        told = self.system.container(document)
        environ = pod.environ | self._variables(told, pod) | more
        mounts = told.get("volumeMounts", []) + told.get("mountPoints", [])
        where = [one.get("mountPath") or one["containerPath"] for one in mounts]
        api = self._client.api
        network: Any = api.create_networking_config(
            {self._network.name: api.create_endpoint_config(aliases=list(pod.names))}
        )
        words = told["command"] if self.system is AWS_BATCH else told["args"]
        if self.system is not AWS_BATCH:
            words = [_expanded(word, environ) for word in words]
        created = api.create_container(
            self._image,
            words,
            hostname=pod.host,
            user=_user(told),
            working_dir=told.get("workingDir"),
            environment=environ,
            host_config=api.create_host_config(
                binds=[f"{self._volume.name}:{path}" for path in where],
                network_mode=self._network.name,
                **_rights(told),
            ),
            networking_config=network,
        )
        container = self._client.containers.get(created["Id"])
        self._containers.append(container)
        container.start()
        return container

    def _variables(self, told: Mapping[str, Any], pod: Pod) -> Variables:
        """Return a container's variables, as its system makes them of the document."""
        known = dict(pod.environ)
        for one in told.get("env", told.get("environment", [])):
            source = one.get("valueFrom", {})
            if "secretKeyRef" in source:
                known[one["name"]] = SECRET
            elif "fieldRef" in source:
                path = source["fieldRef"]["fieldPath"]
                label = path.removeprefix("metadata.labels['").removesuffix("']")
                known[one["name"]] = pod.labels[label]
            elif self.system is AWS_BATCH:
                known[one["name"]] = one["value"]
            else:
                known[one["name"]] = _expanded(one["value"], known)
        return known | {one["name"]: SECRET for one in told.get("secrets", [])}

    def _address(self, container: Any) -> str:
        container.reload()
        networks = container.attrs["NetworkSettings"]["Networks"]
        return str(networks[self._network.name]["IPAddress"])

    def discard(self) -> None:
        """Remove containers, network and volume."""
        for container in self._containers:
            container.remove(force=True, v=True)
        self._network.remove()
        self._volume.remove()


def _user(told: Mapping[str, Any]) -> str | None:
    """Return as whom a container runs; None for the image's user."""
    if OF_POD not in told:
        return told.get("user")
    return "{runAsUser}:{runAsGroup}".format(**told[OF_POD])


def _rights(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a container may do, in the words of the engine."""
    context = told.get("securityContext")
    if context is None:
        return {}
    assert context["allowPrivilegeEscalation"] is False
    return {
        "cap_drop": context["capabilities"]["drop"],
        "security_opt": ["no-new-privileges"],
        "group_add": [told[OF_POD]["fsGroup"]],
    }


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    """Put in the variables as Kubernetes does; one that is not set stays as it is.

    As expand.go in k8s.io/kubernetes/third_party/forked/golang/expansion.
    """

    def put(found: re.Match[str]) -> str:
        return "$" if found[1] == "$" else environ.get(found[2], found[0])

    return _REFERENCE.sub(put, text)
