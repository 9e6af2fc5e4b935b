#!/bin/sh
# Write the locked requirements of the images; `make lock` calls this.
#
# Hashes cover every file of a release, so one lock serves x86_64 and aarch64.
# The index comes from the environment (PIP_INDEX_URL) and stays out of the
# result. Needs uv, because pip-tools resolves only for the Python it runs on.
set -eu
cd "$(dirname "$0")/../.."

if [ -n "${PIP_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
fi

# compile OUTPUT SOURCE...: lock for the images' Python (Debian trixie's).
compile() {
    output=$1
    shift
    uv pip compile --quiet --upgrade --system-certs \
        --python-version 3.13 --python-platform linux --only-binary :all: \
        --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" \
        --output-file "$output" "$@"
}

compile images/requirements.txt \
    --extra mpi --extra dashboard pyproject.toml images/requirements.in
compile images/build-requirements.txt images/build-requirements.in
compile ci/peers_context/requirements.txt \
    --constraint images/requirements.txt ci/peers_context/requirements.in
