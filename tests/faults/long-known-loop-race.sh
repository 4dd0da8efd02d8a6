#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# As test-known-loop-race.sh, for a minute each: with direct I/O to the file, and on
# the other file systems that are trusted.
# TIMEOUT: 900
set -euo pipefail
# shellcheck source=known-loop-race.sh
. "$(dirname "$0")/known-loop-race.sh"

races 6 "$TEST_TMP/image"
races 6 "$TEST_TMP/image" --direct-io=on
mkdir "$TEST_TMP/fs"
for type in ext4 xfs btrfs tmpfs; do
	say "$type"
	if [[ $type == tmpfs ]]; then
		mount -t tmpfs tmpfs "$TEST_TMP/fs"
	else
		truncate -s 1G "$TEST_TMP/fs.$type"
		if ! "mkfs.$type" -q "$TEST_TMP/fs.$type" >"$TEST_TMP/log" 2>&1 ||
			! mount -o loop "$TEST_TMP/fs.$type" "$TEST_TMP/fs" \
				2>>"$TEST_TMP/log"; then
			echo "not here"
			continue
		fi
	fi
	cleanup force_umount "$TEST_TMP/fs"
	races 6 "$TEST_TMP/fs/image"
	umount "$TEST_TMP/fs"
done
