#!/bin/sh
# Compile the program that most ranks are in an image (images/follower): small, and
# without a library that each container would have to read.
#
# build-follower.sh SOURCE PACKAGE PREFIX RESULT
set -eu
source=$1
package=$2
prefix=$3
result=$4

mkdir -p "$(dirname "$result")"
header=$(mktemp -d)
PYTHONPATH=$package "$prefix/bin/python" "$source/header.py" >"$header/follower.h"
musl-gcc -std=gnu17 -D_GNU_SOURCE -Os -static -s -Wall -Wextra -Werror -I "$header" \
    -DPYTHON="\"$prefix/bin/python3\"" \
    -DPROGRAM="\"$prefix/libexec/dask-runner\"" \
    -o "$result" "$source/dask-runner.c"
rm -r "$header"
