"""Grid Engine in containers: a parallel environment, a queue, and when it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci.ready import Seen
from containers.commands import execute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from docker.models.containers import Container

_SETUP = "etc/gridengine-cluster"

#: Debian's own (/usr/share/gridengine/default-configuration), but that a lost host is
#: noticed in half a minute.
_GLOBAL = """\
execd_spool_dir        /var/spool/gridengine/execd
mailer                 /bin/true
xterm                  /bin/true
load_sensor            none
prolog                 none
epilog                 none
shell_start_mode       posix_compliant
login_shells           bash,sh
min_uid                1000
min_gid                1000
user_lists             none
xuser_lists            none
projects               none
xprojects              none
enforce_project        false
enforce_user           auto
load_report_time       00:00:05
max_unheard            00:00:30
reschedule_unknown     00:00:00
loglevel               log_warning
administrator_mail     none
qmaster_params         none
execd_params           none
reporting_params       accounting=true reporting=false flush_time=00:00:01
finished_jobs          100
gid_range              65400-65500
qlogin_command         builtin
qlogin_daemon          builtin
rlogin_command         builtin
rlogin_daemon          builtin
rsh_command            builtin
rsh_daemon             builtin
max_aj_instances       2000
max_aj_tasks           75000
max_u_jobs             0
max_jobs               0
"""

#: Jobs start within a second or two; a site waits for 15.
_SCHEDULER = """\
algorithm                         default
schedule_interval                 0:0:2
maxujobs                          0
queue_sort_method                 load
job_load_adjustments              none
load_adjustment_decay_time        0:0:0
load_formula                      np_load_avg
schedd_job_info                   true
flush_submit_sec                  1
flush_finish_sec                  1
params                            none
reprioritize_interval             0:0:0
halftime                          168
usage_weight_list                 cpu=1,mem=0,io=0
compensation_factor               5
weight_user                       0.25
weight_project                    0.25
weight_department                 0.25
weight_job                        0.25
weight_tickets_functional         0
weight_tickets_share              0
share_override_tickets            TRUE
share_functional_shares           TRUE
max_functional_jobs_to_schedule   200
report_pjob_tickets               TRUE
max_pending_tasks_per_job         50
halflife_decay_list               none
policy_hierarchy                  OFS
weight_ticket                     0.01
weight_waiting_time               0
weight_deadline                   3600000
weight_urgency                    0.1
weight_priority                   1
max_reservation                   0
default_duration                  INFINITY
"""

#: As sites have it for tightly coupled jobs; a job has one line in the accounting.
_ENVIRONMENT = """\
pe_name            mpi
slots              999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    $round_robin
control_slaves     TRUE
job_is_first_task  FALSE
urgency_slots      min
accounting_summary TRUE
qsort_args         NONE
"""

_QUEUE = """\
qname                 all.q
hostlist              {hosts}
seq_no                0
load_thresholds       NONE
suspend_thresholds    NONE
nsuspend              1
suspend_interval      00:05:00
priority              0
min_cpu_interval      00:05:00
processors            UNDEFINED
qtype                 BATCH INTERACTIVE
ckpt_list             NONE
pe_list               mpi
rerun                 FALSE
slots                 {cpus}
tmpdir                /tmp
shell                 /bin/sh
prolog                NONE
epilog                NONE
shell_start_mode      posix_compliant
starter_method        NONE
suspend_method        NONE
resume_method         NONE
terminate_method      NONE
notify                00:00:60
owner_list            NONE
user_lists            NONE
xuser_lists           NONE
subordinate_list      NONE
complex_values        NONE
projects              NONE
xprojects             NONE
calendar              NONE
initial_state         default
s_rt                  INFINITY
h_rt                  INFINITY
s_cpu                 INFINITY
h_cpu                 INFINITY
s_fsize               INFINITY
h_fsize               INFINITY
s_data                INFINITY
h_data                INFINITY
s_stack               INFINITY
h_stack               INFINITY
s_core                INFINITY
h_core                INFINITY
s_rss                 INFINITY
h_rss                 INFINITY
s_vmem                INFINITY
h_vmem                INFINITY
"""


def files(nodes: Sequence[str], cpus: int, memory: int) -> Mapping[str, str]:
    """Return what :file:`containers/gridengine/gridengine` reads."""
    del memory
    return {
        f"{_SETUP}/nodes": " ".join(nodes) + "\n",
        f"{_SETUP}/global": _GLOBAL,
        f"{_SETUP}/scheduler": _SCHEDULER,
        f"{_SETUP}/mpi": _ENVIRONMENT,
        f"{_SETUP}/all.q": _QUEUE.format(hosts=" ".join(nodes), cpus=cpus),
    }


def look(login: Container, nodes: AbstractSet[str]) -> Seen:
    """Ask the master whether the queue has the nodes."""
    _, said = execute(login, ["timeout", "10", "qstat", "-f", "-q", "all.q"])
    return Seen(nodes <= set(_working(said)), f"qstat says: {said}")


def _working(listed: str) -> Iterable[str]:
    """Yield the hosts that have reported their load and are in no state of trouble."""
    # all.q@c1    BIP   0/0/16    0.52    lx-amd64    [states]
    for line in listed.splitlines():
        fields = line.split()
        if line.startswith("all.q@") and len(fields) == 5 and "-NA-" not in fields:  # noqa: PLR2004  as above
            yield fields[0].removeprefix("all.q@")
