#!/bin/sh
# Add a user's Python packages to an image of dask-runner, and measure it anew.
#
# add-requirements.sh REQUIREMENTS
set -eu
requirements=$1
prefix=/opt/dask-runner
python=$prefix/bin/python
work=$(mktemp -d)
touch "$work/before"

"$prefix/bin/pip" install --no-cache-dir --no-compile --requirement "$requirements"
"$prefix/bin/pip" check

# Bytecode as compile-bytecode.sh makes it, of what is new: the rest stays in the
# layer that all images share.
find "$prefix/lib" -name '*.py' -cnewer "$work/before" >"$work/new"
"$python" -m compileall -q -j 0 --invalidation-mode unchecked-hash -i "$work/new"
rm -r "$work"

"$python" "$prefix/scripts/measure_abi.py" "$prefix/abi.json"
