#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each way to go on after each death in the nightly copy to another host; see
# test-two-hosts.sh.
#
# TIMEOUT: 3600 seconds
exec bash "$(dirname "$0")/test-two-hosts.sh" all
