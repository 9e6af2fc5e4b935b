#!/bin/sh
# Compile a tree of Python modules to bytecode that stays valid for good.
#
# The usual kind is compared with the source's modification time at every
# import, and is lost when an image builder sets all times to one value (as a
# reproducible SIF does): Python would then compile everything at every start of
# every rank, because nobody can write the result into a read-only image.
set -eu
python=${PYTHON:-python3}

# Forced, or else what this very run of Python has just compiled would be kept.
find "$@" -type d -name __pycache__ -prune -exec rm -r {} +
"$python" -m compileall -q -f -j 0 --invalidation-mode unchecked-hash "$@"
