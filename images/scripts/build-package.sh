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
    --no-warn-script-location --root "$stage" "$wheel"/*.whl
# The program that most ranks are takes the place of pip's start script, which stays
# for the others. That one imports a module of its own for the sake of Windows, for
# which they would pay.
mkdir "$stage$prefix/libexec"
sed -e '/^import re$/d' -e '/re\.sub(/d' "$stage$prefix/bin/dask-runner" \
    >"$stage$prefix/libexec/dask-runner"
chmod 755 "$stage$prefix/libexec/dask-runner"
sh "$here/build-follower.sh" "$source/images/follower" "$source/runner" "$prefix" \
    "$stage$prefix/bin/dask-runner"
PYTHON="$prefix/bin/python" sh "$here/compile-bytecode.sh" "$stage"
rm -r "$wheel"
