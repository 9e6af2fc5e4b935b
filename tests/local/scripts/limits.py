"""Print the limits of this process and of what it starts, in each way."""

import concurrent.futures
import os
import resource
import subprocess
import warnings

from distributed import Client

LINE = "ulimit -Sn"
PYTHON = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"


def own(*_):
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def output(*args, **how):
    done = subprocess.run(*args, **how, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout)


def forked():
    read, write = os.pipe()
    # Python 3.12 and later warn of threads beside it, which the worker has.
    warnings.simplefilter("ignore", DeprecationWarning)
    if not (pid := os.fork()):
        os.write(write, str(own()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(write)
    with open(read) as file:
        return int(file.read())


def many():
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return set(pool.map(lambda _: output(LINE, shell=True), range(40)))


def busy():
    # More files than half the limit: other threads could come to feel a lower one.
    files = [open(os.devnull) for _ in range(90)]
    child = subprocess.Popen(["sleep", "60"])
    try:
        return resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[0]
    finally:
        child.kill(), child.wait(), [file.close() for file in files]


def chosen():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (777, before[1]))
    try:
        return output(LINE, shell=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def started():
    return {
        "shell": output(LINE, shell=True),
        "spawned": output(["/bin/sh", "-c", LINE], close_fds=False),
        "with a function": output([SH, "-c", LINE], preexec_fn=os.setpgrp),
        "system": os.waitstatus_to_exitcode(os.system('exit "$(ulimit -Sn)"')),
        "bytes": os.waitstatus_to_exitcode(os.system(b'exit "$(ulimit -Sn)"')),
        "forked": forked(),
        "many": many(),
        "busy": busy(),
        "chosen": chosen(),
    }


SH = "/bin/sh"

if __name__ == "__main__":
    client = Client()
    print("script", own())
    print("below the script", sorted({str(v) for v in started().values()}))
    print("task", client.submit(own).result())
    print("below a task", client.submit(started).result())
    print("scheduler", client.run_on_scheduler(own))
    print("below the scheduler", client.run_on_scheduler(started))
    print("nannies", *client.run(own, nanny=True).values())
