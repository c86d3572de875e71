#!/usr/bin/env bash
# Installs what the functional tests need of Debian, where it is missing.
#
# They start these programs on their own, on ports of their own; as services of
# the machine none of them is needed. Takes a Debian, or what derives from it,
# and root.
set -euo pipefail

packages=(
    galera-4        # the provider of a Galera cluster
    haproxy         # before a Glance, and before Galera
    mariadb-server  # a database, and a node of Galera
    nginx-light     # before a Glance
    rsync           # Galera's state transfer
)

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" = 0 ]; then
    echo "All Debian packages are there."
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "Missing, and only root can install: ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# Old lists name packages that the mirror has no more.
apt-get -q update
apt-get -qy install --no-install-recommends "${missing[@]}"
