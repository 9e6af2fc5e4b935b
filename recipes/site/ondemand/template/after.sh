# Part of the job, after JupyterLab was started: wait until it listens. The file is
# JupyterLab's word; somebody else may listen at the port, and would get the password.
until [ -e listens ]; do
    if ! kill -0 "$SCRIPT_PID" 2>/dev/null; then
        echo "dask-runner: error: JupyterLab has ended before it listened" >&2
        clean_up 1
    fi
    if [ "$SECONDS" -gt 600 ]; then
        echo "dask-runner: error: JupyterLab did not listen within 600 s" >&2
        clean_up 1
    fi
    sleep 0.5
done
