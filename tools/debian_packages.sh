#!/usr/bin/env bash
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
#
# Install the Debian packages of the servers that the functional tests start.
#
# The tests start them themselves, on ports of their own; no service of the
# machine is started. A test skips, and says so, where its server is missing:
# nothing needs this script but a run in which no test may skip (CI=true).
# There it fails where it cannot install what is missing.
set -uo pipefail

packages=(
    mariadb-server # a MariaDB, and each node of a Galera cluster
    galera-4       # what makes MariaDB a node
    rsync          # by which a node receives all data
    postgresql     # a PostgreSQL
    haproxy        # in front of a Galera cluster, and of Glance
    nginx          # in front of Glance
    faketime       # a node with a wrong clock
)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)
    [ "$status" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" = 0 ]; then
    echo "All packages are installed: ${packages[*]}"
    exit 0
fi

give_up() {
    echo "Not installed, so their tests skip: ${missing[*]} ($1)" >&2
    [ "${CI:-}" != true ]
    exit
}

command -v apt-get >/dev/null || give_up "this is not Debian"
[ "$(id -u)" = 0 ] || give_up "only root can install them"
# At run level 1, Debian's packages start no service.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
{ apt-get update -qq && apt-get install -qq --no-install-recommends "${missing[@]}"; } >/dev/null ||
    give_up "apt-get failed"
echo "Installed: ${missing[*]}"
