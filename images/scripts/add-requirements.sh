#!/bin/sh
# Add a user's Python packages to an image of dask-runner; measure it and gather its
# bytecode anew.
#
# add-requirements.sh REQUIREMENTS
set -eu
prefix=/opt/dask-runner

sh "$prefix/scripts/install-requirements.sh" "$1"
"$prefix/bin/python" "$prefix/scripts/measure_abi.py" "$prefix/abi.json"
"$prefix/bin/python" "$prefix/scripts/write_bytecode.py"
