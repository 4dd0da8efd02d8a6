#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 3600
# The unit tests notice at least 95 of 100 mutants (tests/mutants/README.md). The
# results are kept in the build: a run that was stopped goes on.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires python3 meson ninja nm

tests/mutants/run --share 95 --dir "$BUILD/mutants"
