#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Incremental backups of a mount that stays, by tools that decide by stat(2):
# a device that was written is copied again, one that was not is left alone. One
# whose writes are not counted is always copied, and never called changed while it is read.
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
	# A warning would be a status of 1.
	tar -C "$MNT" -g "$TEST_TMP/snapshot" -S -cf "$TEST_TMP/$night.tar" .
	copied=$(tar -tf "$TEST_TMP/$night.tar" | grep x) || true
	[[ -z $copied ]] || assert_same_bytes \
		<(tar -xOf "$TEST_TMP/$night.tar" ./x) "$TEST_TMP/x"
}

by_borg() {
	# It reads what is newest once more; that is not to be ours.
	touch "$TEST_TMP/newest"
	# A: added, M: modified, C: changed while it was read.
	copied=$(cd "$MNT" && borg create --list --filter AMC "::$night" \
		x "$TEST_TMP/newest" 2>&1 | grep ' x$') || true
	assert_same_bytes <(borg extract --stdout "::$night") "$TEST_TMP/x"
}

# backup TOOL...: each of them takes the file, and it is right.
backup() {
	local tool
	((++night))
	for tool; do
		"by_$tool"
		assert_ne "$copied" "" "what $tool copies in night $night"
	done
}

# skip_all TOOL...: none does, unless the time has moved since the last backup:
# where a look takes long, for the machine is busy, it does. Then once more.
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
		say "$tool copies in night $night: $copied"
		((try > 1)) && [[ $(mtime) == "$backed" ]] &&
			fail "$tool copies what was not written"
		((++night))
		for tool; do "by_$tool"; done
	done
	fail "the time never stays"
}

write_page() {
	before=$(mtime)
	dd if="$TEST_TMP/page" of="${DEVICE[x]}" bs=4096 seek="$1" conv=notrunc \
		status=none "${@:2}"
	wait_until 10 mtime_moved || fail "stat does not tell of a write"
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

say "one whose writes are not"
mount_fs "x=${DEVICE[x]}"
for tool in rsync cp tar borg; do
	before=$(mtime)
	wait_until 10 mtime_moved || fail "mtime stays where no write is counted"
	backup "$tool"
done

say "and that is read for longer than a look takes to come"
exec 7<"$MNT/x"
before=$(stat -L -c %y "/proc/$$/fd/7")
end=$((SECONDS + 2))
while ((SECONDS < end)); do
	assert_eq "$(mtime)" "$before" "mtime while it is open"
	sleep 0.1
done
exec 7<&-
umount_fs
