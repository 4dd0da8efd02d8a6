#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Incremental backups of one mount by tools that decide by stat(2): they copy a
# device again if it was written, and skip it if not. If the kernel does not
# count the writes to a device, they always copy it, but never report that it
# changed while they read it.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
requires rsync borg
consumer_devices x=data:8M

export BORG_BASE_DIR=$TEST_TMP/borg BORG_REPO=$TEST_TMP/repo
export BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
borg init -e none
head -c 4096 /dev/urandom >"$TEST_TMP/page"
night=0

mtime() {
	stat -c %y "$MNT/x"
}

mtime_moved() {
	[[ $(mtime) != "$before" ]]
}

by_rsync() {
	copied=$(rsync -a --itemize-changes "$MNT/x" "$TEST_TMP/by-rsync")
	assert_same_bytes "$TEST_TMP/by-rsync" "$TEST_TMP/x"
}

by_cp() {
	copied=$(cp -u -v "$MNT/x" "$TEST_TMP/by-cp")
	assert_same_bytes "$TEST_TMP/by-cp" "$TEST_TMP/x"
}

by_tar() {
	# A warning would give status 1.
	tar -C "$MNT" -g "$TEST_TMP/snapshot" -S -cf "$TEST_TMP/$night.tar" .
	copied=$(tar -tf "$TEST_TMP/$night.tar" | grep x) || true
	[[ -z $copied ]] || assert_same_bytes \
		<(tar -xOf "$TEST_TMP/$night.tar" ./x) "$TEST_TMP/x"
}

by_borg() {
	# borg always reads the newest file again; make another one newer.
	touch "$TEST_TMP/newest"
	# A: added, M: modified, C: changed while it was read.
	copied=$(cd "$MNT" && borg create --list --filter AMC "::$night" \
		x "$TEST_TMP/newest" 2>&1 | grep ' x$') || true
	assert_same_bytes <(borg extract --stdout "::$night") "$TEST_TMP/x"
}

# backup TOOL...: checks that each tool copies the file, and right.
backup() {
	local tool
	((++night))
	for tool; do
		"by_$tool"
		assert_ne "$copied" "" "files that $tool copies in night $night"
	done
}

# skip_all TOOL...: checks that no tool copies the file again. On a busy machine a
# look may take long and move the time; then try again.
skip_all() {
	local tool try backed
	for try in 1 2 3 4 5; do
		backed=$(mtime)
		((++night))
		for tool; do
			"by_$tool"
			[[ -z $copied ]] || break
		done
		[[ -n $copied ]] || return 0
		say "$tool, night $night, copies: $copied"
		((try > 1)) && [[ $(mtime) == "$backed" ]] &&
			fail "$tool copies a file that was not written"
		((++night))
		for tool; do "by_$tool"; done
	done
	fail "the modification time keeps moving"
}

write_page() {
	before=$(mtime)
	dd if="$TEST_TMP/page" of="${DEVICE[x]}" bs=4096 seek="$1" conv=notrunc \
		status=none "${@:2}"
	wait_until 10 mtime_moved || fail "stat does not show a write"
}

say "a device whose writes are counted"
mount_fs "x=${DEVICE[x]}"
backup rsync cp tar borg
skip_all rsync cp tar borg
write_page 100 oflag=direct
backup rsync cp tar borg
say "written through the page cache, not synced"
write_page 200
backup rsync cp
umount_fs

iostats=/sys/block/${DEVICE[x]##*/}/queue/iostats
counts() {
	echo 1 >"$iostats"
}
cleanup counts
echo 0 >"$iostats"

say "a device whose writes are not counted"
mount_fs "x=${DEVICE[x]}"
for tool in rsync cp tar borg; do
	before=$(mtime)
	wait_until 10 mtime_moved || fail "mtime stays although no write is counted"
	backup "$tool"
done

say "the same, with reads that last longer than the interval of looks"
exec 7<"$MNT/x"
before=$(stat -L -c %y "/proc/$$/fd/7")
end=$((SECONDS + 2))
while ((SECONDS < end)); do
	assert_eq "$(mtime)" "$before" "mtime while it is open"
	sleep 0.1
done
exec 7<&-
umount_fs
