#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 3600
# Where size_t and long have 32 bits, all is built and the unit tests pass: on
# i386, in a root that tests/debootstrap makes and keeps, so that this machine
# gets no packages of another processor. The last commit is tested.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires_root
requires debootstrap git
[[ $(uname -m) == x86_64 ]] || skip "$(uname -m) does not run programs of i386"

# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-sid}")
tests/debootstrap --unit "$release:i386"
