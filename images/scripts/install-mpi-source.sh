#!/bin/sh
# Build an MPI from its source, as a site built its own, and keep no compiler.
#
#   MPI            openmpi or mpich
#   MPI_VERSION    as 5.0.7; for Open MPI and MPICH it also tells where the source is
#   MPI_URL        another place: a mirror's, a distribution's source package
#   MPI_SHA256     the tarball's checksum; without it, whatever came is built
#   MPI_CONFIGURE  options of configure; without them, those below
#
# PMIx, libfabric, UCX and hwloc are the distribution's, because they are what speaks
# to a site's launcher and network. Eleven minutes on two cores.
set -eu
here=$(dirname "$0")
prefix=/opt/mpi
build=$(mktemp -d)

fail() {
    echo "$*" >&2
    exit 1
}

[ -n "${MPI_VERSION:-}" ] || fail "MPI_SOURCE=source needs MPI_VERSION, as 5.0.7"
case ${MPI:-} in
    openmpi)
        url=https://download.open-mpi.org/release/open-mpi/v${MPI_VERSION%.*}/openmpi-$MPI_VERSION.tar.bz2
        # The client of any launcher that speaks PMIx, and mpirun's own.
        options="--with-pmix=external --with-hwloc=external --with-libevent=external
            --with-prrte=internal"
        # Nobody here uses it, and 5.0.7's does not compile with GCC 14.
        always=--disable-oshmem
        ;;
    mpich)
        url=https://www.mpich.org/static/downloads/$MPI_VERSION/mpich-$MPI_VERSION.tar.gz
        # All launchers' protocols in one library (since MPICH 4.2), and Hydra: an
        # outside PMIx alone would be the only one, and leave mpiexec out.
        options="--with-device=ch4:ofi --with-libfabric=/usr --with-hwloc=/usr
            --with-pmix=/usr/lib/$(uname -m)-linux-gnu/pmix2
            --with-pmilib=mpich --with-pm=hydra"
        always=
        ;;
    *) fail "MPI=${MPI:-}: the source of openmpi or mpich can be built" ;;
esac
url=${MPI_URL:-$url}

# Kept: what the library will load.
sh "$here/install-lean.sh" libpmix2t64 libfabric1 libucx0 libhwloc15 \
    libevent-core-2.1-7t64 libevent-pthreads-2.1-7t64 zlib1g libnuma1
before=$(apt-mark showmanual)
apt-get install -q -y --no-install-recommends \
    gcc g++ make perl patch xz-utils bzip2 zlib1g-dev flex pkgconf \
    libpmix-dev libfabric-dev libucx-dev libhwloc-dev libevent-dev libnuma-dev

# The site's certificates are pip's as well, where there are any.
bundle=/etc/ssl/site-ca.pem
[ ! -e "$bundle" ] || export SSL_CERT_FILE=$bundle
echo "fetching $url"
python3 -c 'import sys, urllib.request as web; web.urlretrieve(*sys.argv[1:])' \
    "$url" "$build/source.tar"
if [ -n "${MPI_SHA256:-}" ]; then
    echo "$MPI_SHA256  $build/source.tar" | sha256sum --check --strict
else
    echo "MPI_SHA256 is not set: this source is built as it came"
    sha256sum "$build/source.tar"
fi
tar -xf "$build/source.tar" -C "$build" --strip-components=1 --no-same-owner

cd "$build"
# The options are words of their own.
./configure --prefix="$prefix" --enable-shared --disable-static \
    --disable-mpi-fortran --disable-fortran $always ${MPI_CONFIGURE:-$options}
make -j "$(nproc)" V=0
make install-strip
cd /

apt-mark auto gcc g++ make perl patch xz-utils bzip2 zlib1g-dev flex pkgconf \
    libpmix-dev libfabric-dev libucx-dev libhwloc-dev libevent-dev libnuma-dev
apt-mark manual $before >/dev/null
apt-get autoremove -q -y --purge
rm -rf "$build" "$prefix/include" "$prefix/share/doc" "$prefix/share/man"
find "$prefix" -name '*.la' -delete

sh "$here/link-mpi.sh" "$prefix"
sh "$here/clean-system.sh"
