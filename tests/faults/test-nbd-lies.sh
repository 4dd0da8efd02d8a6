#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 900
#
# An NBD server that lies (tests/lib/evil_nbd.py). The programs end with the right
# bytes, or with an error that names the export. They do not crash, hang or loop,
# and report no hole that the server did not claim.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires_fuse
requires jq
requires_nbd

SIZE=$((4 * MIB))
image=$TEST_TMP/image
dense=$TEST_TMP/dense
python3 "$LIB/devices.py" make mixed $SIZE "$image"
fallocate --dig-holes "$image"
stale $SIZE >"$dense"

# With the sanitizers, a fault ends the program with another status.
export UBSAN_OPTIONS=halt_on_error=1 ASAN_OPTIONS=allocator_may_return_null=1
# The kernel may end a mount before it tells of the last close of a file.
echo "leak:handle_new" >"$TEST_TMP/leaks"
export LSAN_OPTIONS=suppressions=$TEST_TMP/leaks:print_suppressions=0

# ran COMMAND...: runs it with a limit. It must end by itself, without a crash.
ran() {
	run_status timeout -k 2 60 "$@"
	((STATUS <= 2)) || fail_at "$lie: $* => status $STATUS: $ERR"
	assert_lacks "$ERR" "ERROR: " "$lie"
	assert_lacks "$ERR" "runtime error" "$lie"
}

# expected WHAT: checks $STATUS. WHAT is right, error or either; error must name
# the export.
expected() {
	case $1:$STATUS in
	right:0 | either:0) ;;
	error:1 | either:1)
		assert_contains "$ERR" "$EVIL" "$lie: the message"
		;;
	*) fail_at "$lie: status $STATUS: $ERR" ;;
	esac
}

# Newer versions of libnbd drop the answer to a command that they have not sent, and
# wait on: such a server hangs, as test-nbd-hangs has it. Older ones end the
# connection. $cookie is the lie's name, or empty if this libnbd waits.
find_cookie() {
	cookie=cookie
	serve "$image"
	lies status=cookie
	run_status timeout 5 nbdinfo --map "$EVIL"
	((STATUS != 124)) || cookie=
}

# --- Reading ----------------------------------------------------------------

# map_is_right IMAGE: checks that each hole of the map in $OUT is one.
map_is_right() {
	python3 -c 'import json, sys
report = json.load(open(sys.argv[1]))
data = open(sys.argv[2], "rb").read()
for extent in report["extents"]:
    start, end = extent["start"], extent["start"] + extent["length"]
    if extent["type"] == "hole" and data[start:end].strip(b"\0"):
        sys.exit(f"{start}+{end - start} is no hole")' "$TEST_TMP/.out" "$1" ||
		fail_at "$lie: the map"
}

# reads WHAT LIE [IMAGE]: copies the export while the server lies, and maps it if
# the lie is about extents. WHAT is the result of the copy, as for expected. A map
# may call anything data.
reads() {
	local what=$1 from=${3:-$image}
	lie=$2
	[[ $served == "$from" ]] || serve "$from"
	lies "$lie"
	if [[ $lie == *status* ]]; then
		ran "$tool" map --format=json "$EVIL"
		expected either
		((STATUS)) || map_is_right "$from"
	fi
	rm -f "$TEST_TMP/copy"
	ran "$tool" copy --quiet "$EVIL" "$TEST_TMP/copy"
	expected "$what"
	((STATUS)) || cmp "$TEST_TMP/copy" "$from" || fail_at "$lie: the copy"
}

# serve IMAGE: has the server serve it.
serve() {
	evil "$1"
	served=$1
}
served=

negotiation() {
	local lie
	for lie in option={magic,other,huge,early,policy,tls,unknown,short} meta=late \
		flags=0 {close,garbage}={connect,options,go,mid-go} \
		size={0,9223372036854775807,9223372036854775808,18446744073709551615}; do
		reads error "$lie"
		assert_lacks "$ERR" "not in a connected state" "$lie: the message"
		assert_lacks "$ERR" "(null)" "$lie: the message"
	done
	assert_contains "$ERR" "size" "the message about a size"
	lies option=policy
	ran "$tool" map "$EVIL"
	assert_contains "$ERR" "policy" "the server's reason"
	for lie in option=unasked meta={none,name,twice} flags={1,65535} read-only \
		read-only=odd refuse={go,structured,meta} refuse=go,structured,meta \
		block-size={none,"0,0,0","4096,4096,4096"} \
		block-size="65536,65536,65536" {garbage,close}=greeting; do
		reads right "$lie"
	done
	for lie in "1,1,1" "3,5,7" "4096,512,512" "512,4096,0" "4096,4096,1" \
		"2147483648,2147483648,2147483648"; do
		reads either "block-size=$lie"
	done
}

answers() {
	local lie
	say "$tool: lies about extents"
	for lie in beyond zero zero-first stuck one empty flags context \
		unaligned hole-only twice unasked; do
		reads right status=$lie
	done
	: >"$EVIL_LOG"
	reads right status=many
	assert_le "$(commands status)" 8 "questions that get a million extents"
	# libnbd closes the connection.
	for lie in none ragged ${cookie:+"$cookie"}; do
		reads either "status=$lie"
	done
	for lie in EIO ENOSPC EINVAL ESHUTDOWN ENOTSUP 77777 0; do
		reads either "error=status:$lie"
	done
	# A claim is believed until it is found wrong.
	for lie in hole contradict; do
		reads right status=$lie "$dense"
		assert_contains "$ERR" "said that byte" "$lie: the warning"
	done
	reads right status=beyond-device "$dense"
	# The newer versions of libnbd do not pass it on either.
	[[ -z $cookie ]] ||
		assert_contains "$ERR" "said that byte" "$lie: the warning"
	say "$tool: lies in replies"
	for lie in read={short,gap,overlap,repeat,outside,before,hole-outside,twice,empty} \
		read={other,error-outside,error-long} \
		${cookie:+"reply=$cookie"} reply={duplicate,magic,simple,type} \
		error={read,any}:{EIO,ENOSPC,EINVAL,EOVERFLOW,ESHUTDOWN,77777} \
		{close,garbage}={read,mid-read,any}; do
		reads error "$lie" "$dense"
	done
	for lie in reply=reversed delay=10; do
		reads right "$lie"
	done
}

stops() {
	local lie
	say "$tool: the server stops"
	for lie in hang={connect,go}; do
		reads error "$lie"
	done
}

# --- Writing ----------------------------------------------------------------

# writes WHAT LIE: copies the image to an export full of old bytes.
writes() {
	lie=$2
	stale $SIZE >"$target"
	lies "$lie"
	ran "$tool" copy --quiet "$image" "$EVIL"
	expected "$1"
	((STATUS)) || cmp "$image" "$target" || fail_at "$lie: the target"
}

target=$TEST_TMP/target
targets() {
	local lie
	say "$tool: lies to a writer"
	stale $SIZE >"$target"
	serve "$target"
	# The programs see that zeros are missing, and write them.
	for lie in zeroes={0,4096,65536,inward}; do
		writes either "$lie"
	done
	for lie in zeroes=punch trim=scribble error=trim:EIO error=fast-zero:ENOTSUP \
		error={fast-zero,zeroes}:{ENOTSUP,EINVAL,EIO} flags={1,5,9,13,77} \
		refuse=go,structured,meta block-size=4096,4096,65536; do
		writes either "$lie"
	done
	for lie in none error=fast-zero:ENOTSUP zeroes=punch trim=scribble flags=77 \
		refuse=go,structured,meta block-size=4096,4096,65536; do
		writes right "$lie"
	done
	for lie in error={write,flush,any}:{EIO,ENOSPC,ESHUTDOWN,77777} read-only \
		{close,garbage}={write,write:3,mid-write,zeroes,flush}; do
		writes error "$lie"
	done
	lie=writes=100
	lies "$lie"
	stale $SIZE >"$target"
	ran "$tool" copy --quiet --verify "$image" "$EVIL"
	expected error
}

# --- Mounts -----------------------------------------------------------------

# On a mount the lie begins after the mount. Reads and seeks give right answers
# or EIO, and all is right again when the server is honest.
mounted_lies() {
	local lie status
	say "$FS: lies to a mount"
	serve "$image"
	for lie in status={beyond,zero,stuck,none,flags,context,unaligned,twice,ragged} \
		error={status,any}:EIO ${cookie:+"reply=$cookie"} reply={magic,duplicate} \
		read={gap,outside} \
		close={any,mid-any,connect} size={0,8192,8388608} flags=0; do
		lies
		: >"$TEST_TMP/extents"
		mount_fs -o unshared "x=$EVIL"
		lies "$lie"
		status=0
		timeout -k 2 60 cp --sparse=always "$MNT/x" "$TEST_TMP/copy" \
			2>"$TEST_TMP/err" || status=$?
		((status == 0)) || grep -q "Input/output error" "$TEST_TMP/err" ||
			fail "$lie: cp: $status: $(<"$TEST_TMP/err")"
		((status)) || cmp "$TEST_TMP/copy" "$image" || fail "$lie: cp"
		timeout -k 2 60 python3 "$LIB/ask.py" extents "$MNT/x" \
			>"$TEST_TMP/extents" || fail "$lie: the seeks do not end"
		holes_are_right || fail "$lie: the seeks"
		lies
		wait_until 30 cmp -s "$MNT/x" "$image" ||
			fail "$lie: the file is wrong when the server is honest"
		umount_fs
		assert_lacks "$(<"$FS_LOG")" "ERROR: " "$lie"
	done
}

# written_lies: a program writes zeros and data while the server lies. If fsync
# succeeds, the bytes are on the server.
written_lies() {
	local lie status
	say "$FS: lies to a writable mount"
	{ head -c $MIB /dev/zero && head -c 65536 /dev/zero | tr '\0' '\135' &&
		head -c $((SIZE - MIB - 65536)) /dev/zero; } >"$TEST_TMP/want"
	stale $SIZE >"$target"
	serve "$target"
	for lie in zeroes={0,4096,65536,punch,inward} trim=scribble flags={69,13} \
		error={zeroes,fast-zero,write,flush}:{EIO,ENOTSUP} \
		close={zeroes:2,write,flush,mid-flush}; do
		lies
		stale $SIZE >"$target"
		mount_fs -o rw,unshared "x=$EVIL"
		lies "$lie"
		act truncate=0 "truncate=$SIZE" write=1M+64K fsync
		[[ -n $FAILURES ]] || cmp "$target" "$TEST_TMP/want" ||
			fail "$lie: fsync said that it is written"
		lies
		unmount "$MNT"
		status=0
		end_fs || status=$?
		assert_lacks "$(<"$FS_LOG")" "ERROR: " "$lie"
		((status)) || [[ $FAILURES == *write=* ]] ||
			cmp "$target" "$TEST_TMP/want" ||
			fail "$lie: the mount said that it is written"
		((status <= 1)) || fail "$lie: status $status"
	done
}

# holes_are_right: checks the lines of ask.py in $TEST_TMP/extents.
holes_are_right() {
	python3 -c 'import sys
data = open(sys.argv[2], "rb").read()
for line in open(sys.argv[1]):
    start, length, kind = line.split()
    part = data[int(start):int(start) + int(length)]
    if kind == "hole" and part.strip(b"\0"):
        sys.exit(f"{line.strip()}: it has data")' "$TEST_TMP/extents" "$image"
}

# --- All --------------------------------------------------------------------

# The build with sanitizers runs the same code, and notices more.
find_cookie
build=${BUILD_ASAN:-$SRC/build-asan}
tool=$build/tools/blksparse
FS=$build/fuse/blksparsefs
negotiation
answers
stops
targets
mounted_lies
written_lies
