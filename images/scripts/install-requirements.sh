#!/bin/sh
# Add Python packages to the application layer; those that are there already stay.
#
# install-requirements.sh REQUIREMENTS [OPTION OF PIP]...
set -eu
requirements=$1
shift
prefix=/opt/dask-runner
work=$(mktemp -d)
touch "$work/before"

"$prefix/bin/pip" install --no-cache-dir --no-compile "$@" --requirement "$requirements"
"$prefix/bin/pip" check

# Bytecode as compile-bytecode.sh makes it, of what is new: the rest stays in the
# layer that all images share. Forced, as there; no files would mean all of sys.path.
find "$prefix/lib" -name '*.py' -cnewer "$work/before" >"$work/new"
[ ! -s "$work/new" ] || "$prefix/bin/python" -m compileall -q -f -j 0 \
    --invalidation-mode unchecked-hash -i "$work/new"
rm -r "$work"
