#!/bin/sh
# Build the application layer: a virtual environment from the locked
# requirements, without any MPI, the same for every family.
#
# build-venv.sh PREFIX REQUIREMENTS
set -eu
prefix=$1
requirements=$2
here=$(dirname "$0")

# pip comes along (2 MB of the SIF), so that `RUN pip install ...` is all that
# an image with more packages takes.
python3 -m venv "$prefix"
"$prefix/bin/pip" install --no-cache-dir --no-compile --only-binary :all: \
    --require-hashes --requirement "$requirements"
"$prefix/bin/pip" check

site=$("$prefix/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
# Packages' own tests, and static libraries for compiling against.
find "$site" -type d -name tests -prune -exec rm -r {} +
find "$site" -name '*.a' -delete
# Bokeh serves the minified scripts only; the others are for its developers.
find "$site/bokeh/server/static/js" -name '*.js' ! -name '*.min.js' -delete
rm -rf "$site/bokeh/server/static/js/lib"

PYTHON="$prefix/bin/python" sh "$here/compile-bytecode.sh" "$prefix/lib"
