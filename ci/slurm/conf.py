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

# No cgroups in these containers. Of the other ways to track processes this one, as
# proctrack/cgroup of real sites, spares what a task has started from signals but
# SIGKILL; linuxproc would end Apptainer's squashfuse, and the image with it.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
# The PMI is the user's choice on the srun line, as on most sites.
MpiDefault=none

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Pending jobs are looked at often: tests wait for them.
SchedulerParameters=sched_interval=2
DefMemPerCPU={memory_per_cpu}
# A node may claim more CPUs and memory than its machine has.
SlurmdParameters=config_overrides

# A node that was lost comes back to work as soon as it answers.
ReturnToService=2
# A lost node is noticed while a test waits for it; the default is 300.
SlurmdTimeout=30
# A task that fails leaves the others alone, as by default.
KillOnBadExit=0

NodeName={nodes} CPUs={cpus} CoresPerSocket={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


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
