#!/bin/sh
# Build this package's wheel and install it into a folder that mirrors /, ready
# to be copied over the application layer.
#
# build-package.sh SOURCE PREFIX STAGE
set -eu
source=$1
prefix=$2
stage=$3
here=$(dirname "$0")

wheel=$(mktemp -d)
# The build tools live outside the application layer.
/opt/build-tools/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation \
    --wheel-dir "$wheel" "$source"
"$prefix/bin/pip" install --quiet --no-deps --no-index --no-compile \
    --root "$stage" "$wheel"/*.whl
# pip's start script imports a module of its own for the sake of Windows, which each
# rank would pay for.
sed -i -e '/^import re$/d' -e '/re\.sub(/d' "$stage$prefix/bin/dask-runner"
PYTHON="$prefix/bin/python" sh "$here/compile-bytecode.sh" "$stage"
rm -r "$wheel"
