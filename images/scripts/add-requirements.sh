#!/bin/sh
# Add a user's Python packages to an image of dask-runner, and measure it anew.
#
# add-requirements.sh REQUIREMENTS
set -eu
prefix=/opt/dask-runner

sh "$prefix/scripts/install-requirements.sh" "$1"
"$prefix/bin/python" "$prefix/scripts/measure_abi.py" "$prefix/abi.json"
