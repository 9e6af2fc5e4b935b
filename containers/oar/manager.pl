# Ends what a job has left on one of its nodes: OAR's server starts this there, with
# "init" before a job and "clean" after it. OAR's own ends a control group of systemd,
# which these containers have not; here a process is a job's by its variable.
use strict;
use warnings;

my $job = eval(join('', <STDIN>));
exit(0) if $ARGV[0] ne 'clean';

my $kill = <<'END';
found() {
    for pid in $(pgrep -u "$1"); do
        if grep -zqsx "OAR_JOB_ID=$2" "/proc/$pid/environ"; then echo "$pid"; fi
    done
}
while pids=$(found "$1" "$2") && [ -n "$pids" ]; do kill -KILL $pids; done
END
# As root: no other account may look at the variables of the user's processes.
exit(system('/usr/lib/oar/oardodo/oardodo', 'sh', '-c', $kill, 'sh', $job->{user}, $job->{job_id}) >> 8);
