#!/bin/sh
# Remove what only installing needed; the last line of every install script, so
# that it never becomes part of a layer.
set -eu

apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old \
    /var/lib/dpkg/*-old /var/log/* /usr/share/doc/* /usr/share/man/* \
    /usr/share/info/* /usr/share/lintian/*
