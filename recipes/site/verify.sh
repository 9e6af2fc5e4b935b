#!/bin/bash
# Whether dask-runner works on this site, tried on two nodes in about a minute:
#
#     module load dask-runner
#     ./verify.sh --partition=debug --account=staff
#
# What it is given goes to srun. It prints a line for each thing that it tried, and
# for each that fails what it saw, what is needed and what you can do.
# Its status is 0 if all passed, else 1. It leaves nothing behind.

set -u
failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

pass() { echo "pass: $1"; }

# fail WHAT SAW NEEDED CAN
fail() {
    failed=1
    printf 'FAIL: %s\n  saw: %s\n  needed: %s\n  you can: %s\n' "$@"
}

# The end of what a command said, on one line; srun's own words where there are no others.
last() {
    { grep -v '^srun: ' "$work/$1" || cat "$work/$1"; } |
        tail -n 3 | tr '\n' ' ' | cut -c1-600
}

# Nothing of what the caller's shell has set is to be part of the trial.
unset "${!DASK_RUNNER__@}"

# 1. The commands.
for command in srun dask-runner; do
    command -v "$command" > "$work/where" || {
        fail "the command $command" "it is not on PATH" \
            "Slurm, and the module dask-runner" \
            "run \`module load dask-runner\` on a login node, and this again"
        exit 1
    }
done
pass "srun and dask-runner are on PATH"

# Slurm itself: what fails here is no fault of the image.
srun --time=10 "$@" -N1 -n1 true > "$work/slurm" 2>&1
status=$?
if [ $status -ne 0 ]; then
    fail "srun starts a program (status $status)" "$(last slurm)" \
        "a Slurm that answers here, and a partition and account that you may use" \
        "run \`srun -n1 true\`; give this script --partition and --account"
    exit 1
fi

# 2. A node starts the image, and check compares its MPI with the node's.
srun --time=10 "$@" -N1 -n1 dask-runner check > "$work/check" 2>&1
status=$?
if [ $status -eq 0 ]; then
    pass "check: an MPI program in this image can start here"
elif grep -q incompatible "$work/check"; then
    fail "check: MPI programs (a Dask script needs no MPI)" "$(last check)" \
        "a way to start the image's MPI" \
        "read \`srun -n1 dask-runner check\`, and take an image of another MPI"
else
    fail "a node that runs the image (status $status)" "$(last check)" \
        "a node of the allocation that reads the SIF, and Apptainer on it" \
        "run \`srun -n1 apptainer run \$IMAGE info\`, and correct what it says"
fi

# 3. The site's defaults, as a job sees them.
if [ -d /etc/dask ]; then
    srun --time=10 "$@" -N1 -n1 dask-runner info > "$work/info" 2>&1
    status=$?
    if [ $status -eq 0 ]; then
        pass "info: the defaults in /etc/dask are valid"
    else
        fail "info: the site's defaults (status $status)" "$(last info)" \
            "valid values in /etc/dask/*.yaml of the nodes" \
            "correct the value that it names, on all nodes"
    fi
else
    echo "note: this node has no /etc/dask, so the program's own defaults count"
fi

# 4. The main job: a script on two nodes, a task on each.
read -r -d '' script << 'END'
import socket

from distributed import Client

if __name__ == "__main__":
    client = Client()
    nodes = sorted(set(client.run(socket.gethostname).values()))
    total = sum(client.gather(client.map(lambda x: x * x, range(100))))
    print("verified", len(nodes), total, *nodes)
END
srun --time=10 "$@" -N2 --ntasks-per-node=1 dask-runner -c "$script" \
    > "$work/job" 2>&1
status=$?
if [ $status -eq 0 ] && grep -q '^verified 2 328350 ' "$work/job"; then
    pass "a Dask script ran on two nodes: $(sed -n 's/^verified 2 328350 //p' "$work/job")"
else
    fail "a Dask script on two nodes (status $status)" "$(last job)" \
        "two nodes that reach each other on TCP ports, and a home that both see" \
        "try \`srun -N2 dask-runner info\`, and --interface NAME or --scheduler-file"
fi

# 5. What users will meet, without being a fault.
scontrol show config > "$work/config" 2>&1
setting() { sed -n "s/^$1 *= *\([^ ]*\).*/\1/p" "$work/config"; }
case $(setting MpiDefault) in
none | "(null)") echo "note: MpiDefault=none: a script that calls MPI itself needs srun --mpi=pmix" ;;
esac
[ "$(setting KillOnBadExit)" != 1 ] ||
    echo "note: KillOnBadExit=1: a lost node ends the script, but for srun --kill-on-bad-exit=0"
case $(setting WaitTime) in
"" | 0) ;; # no answer, or no limit
*) echo "note: WaitTime=$(setting WaitTime): a script ends so long after a lost node, but for srun --wait=0" ;;
esac

if [ $failed -ne 0 ]; then
    echo "verify.sh: FAILED"
    exit 1
fi
echo "verify.sh: passed"
