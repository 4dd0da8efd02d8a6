#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Loop devices are asked for their holes beside programs that write, for 18
# seconds; see known-loop-race.sh.
set -euo pipefail
# shellcheck source=known-loop-race.sh
. "$(dirname "$0")/known-loop-race.sh"

races 2 "$TEST_TMP/image"
