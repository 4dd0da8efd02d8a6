#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# test-increment-kill.sh with a thousand rounds.
#
# TIMEOUT: 3600 seconds
set -euo pipefail
exec bash "$(dirname "$0")/test-increment-kill.sh" 1000
