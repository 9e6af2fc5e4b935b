"""The slurm.conf of the cluster in containers, for a number of nodes and CPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_CONF = """\
ClusterName=containers
SlurmctldHost=login
SlurmUser=slurm
AuthType=auth/munge
# A requeued job waits this long before it starts again; the default is 120.
AuthInfo=cred_expire=15
StateSaveLocation=/var/lib/slurm/ctld
SlurmdSpoolDir=/var/lib/slurm/d
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid

# These containers have no cgroups. Like proctrack/cgroup on real sites, pgid sends a
# task's children no signal but SIGKILL; linuxproc would end Apptainer's squashfuse, and
# the mounted image with it.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
# As on most sites, the user chooses the PMI on the srun line.
MpiDefault=none

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Look at pending jobs often: tests wait for them. Only the backfill scheduler starts
# heterogeneous jobs.
SchedulerParameters=sched_interval=2,bf_interval=2
DefMemPerCPU={memory_per_cpu}
# A node may claim more CPUs and memory than its machine has.
SlurmdParameters=config_overrides

# A lost node takes work again as soon as it answers.
ReturnToService=2
# A test waits until a lost node is noticed; the default is 300.
SlurmdTimeout=30
# A task that fails does not end the others; this is the default.
KillOnBadExit=0

# A job of the partition urgent takes the nodes of others, which are queued again. They
# are told, and have as many seconds as a site might give them.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE

NodeName={nodes} CPUs={cpus} CoresPerSocket={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP GraceTime=10
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


#: What differs where Slurm limits its jobs, as most sites have it.
_WITH_CGROUPS = (
    ("ProctrackType=proctrack/pgid", "ProctrackType=proctrack/cgroup"),
    ("TaskPlugin=task/none", "TaskPlugin=task/affinity,task/cgroup"),
    # What sstat tells of a running step; sacct would need a database.
    ("MpiDefault=none", "MpiDefault=none\nJobAcctGatherType=jobacct_gather/cgroup"),
)
#: Of the kernel's version of control groups, whichever the engine has.
CGROUP_CONF = """\
CgroupPlugin=autodetect
IgnoreSystemd=yes
ConstrainCores=yes
ConstrainRAMSpace=yes
"""


def slurm_conf_with_cgroups(nodes: Sequence[str], cpus: int, memory: int) -> str:
    """Return a slurm.conf of a site that limits memory and CPUs; see slurm_conf."""
    text = slurm_conf(nodes, cpus, memory)
    for other, own in _WITH_CGROUPS:
        text = text.replace(other, own)
    return text


def slurm_conf(nodes: Sequence[str], cpus: int, memory: int) -> str:
    """Return a slurm.conf.

    Parameters
    ----------
    nodes : sequence of str
        Host names of the compute nodes.
    cpus : int
        CPUs of each.
    memory : int
        Memory of each, in MiB.
    """
    return _CONF.format(
        nodes=",".join(nodes),
        cpus=cpus,
        memory=memory,
        memory_per_cpu=memory // cpus,
    )
