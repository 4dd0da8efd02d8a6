#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# test-kill.sh with a thousand rounds.
#
# TIMEOUT: 2400 seconds
set -euo pipefail
exec bash "$(dirname "$0")/test-kill.sh" 1000
