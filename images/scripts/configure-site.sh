#!/bin/sh
# Point a base image at a site's packages, as ci/base_image does for Docker; the
# definition files call this. All are optional:
#
#   DEBIAN_MIRROR, DEBIAN_SECURITY_MIRROR, PIP_INDEX_URL  where packages come from
#   /etc/ssl/site-ca.new                                  certificates to trust
set -eu
bundle=/etc/ssl/site-ca.pem

certificates=
if grep -q 'BEGIN CERTIFICATE' /etc/ssl/site-ca.new; then
    mv /etc/ssl/site-ca.new "$bundle"
    # Not ca-certificates.crt, which the package of that name overwrites.
    echo "Acquire::https::CaInfo \"$bundle\";" >/etc/apt/apt.conf.d/80site-ca
    certificates="cert = $bundle"
else
    # A base image that was made here has its site's already.
    rm /etc/ssl/site-ca.new
fi

if [ -n "$certificates${PIP_INDEX_URL:-}" ]; then
    {
        echo "[global]"
        echo "$certificates"
        [ -z "${PIP_INDEX_URL:-}" ] || echo "index-url = $PIP_INDEX_URL"
    } >/etc/pip.conf
fi

stanza() {
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\n' "$1" "$2"
    printf 'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n'
}
if [ -n "${DEBIAN_MIRROR:-}" ]; then
    {
        stanza "$DEBIAN_MIRROR" "trixie trixie-updates"
        [ -z "${DEBIAN_SECURITY_MIRROR:-}" ] ||
            stanza "$DEBIAN_SECURITY_MIRROR" trixie-security
    } >/etc/apt/sources.list.d/debian.sources
fi
