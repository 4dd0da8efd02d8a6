#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The NBD server of the tests, tests/lib/evil_nbd.py, is honest when it is told no
# lie: the clients of libnbd and QEMU read, write, zero and map through it. Told
# one, it tells it, also to a client that is connected.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/lib.sh"
requires nbdinfo nbdcopy qemu-img qemu-io jq

image=$TEST_TMP/image
python3 "$LIB/devices.py" make mixed 24M "$image"
fallocate --dig-holes "$image"
cp --sparse=always "$image" "$TEST_TMP/first"

# extents_of URI: as nbdinfo gives them.
extents_of() {
	nbdinfo --map --json "$1" |
		jq -r '.[] | "\(.offset) \(.length) \(if .type == 0 then "data" else "hole" end)"'
}

honest() {
	local sum
	say "$1: the clients read"
	assert_eq "$(extents_of "$1")" "$(ask extents "$image")" "extents"
	nbdcopy "$1" "$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/copy" "$image"
	qemu-img convert -f raw -O raw "$1" "$TEST_TMP/copy"
	assert_same_bytes "$TEST_TMP/copy" "$image"
	assert_eq "$(qemu-img map -f raw --output=json "$1")" \
		"$(qemu-img map -f raw --output=json "$image")" "qemu-img map"

	say "$1: the clients write"
	cp "$image" "$TEST_TMP/want"
	qemu-io -f raw -c 'write -P 7 1M 70000' -c 'write -z 2M 100k' \
		-c 'write -z -u 3M 100k' -c 'discard 4M 1M' -c 'write -f -P 9 512 512' \
		-c flush -c 'read -P 7 1M 70000' "$1" >"$TEST_TMP/log"
	assert_lacks "$(<"$TEST_TMP/log")" "failed" "qemu-io"
	qemu-io -f raw -c 'write -P 7 1M 70000' -c 'write -P 0 2M 100k' \
		-c 'write -P 0 3M 100k' -c 'write -P 0 4M 1M' -c 'write -P 9 512 512' \
		"$TEST_TMP/want" >"$TEST_TMP/log"
	assert_same_bytes "$image" "$TEST_TMP/want"
	sum=$(cksum <"$TEST_TMP/first")
	nbdcopy "$TEST_TMP/first" "$1"
	assert_eq "$(cksum <"$image")" "$sum" "what nbdcopy wrote"
}

evil "$image"
honest "$EVIL"
assert_ge "$(commands connect)" 8 "connections"
for command in read write zeroes trim flush status; do
	assert_ge "$(commands $command)" 1 "commands in the log: $command"
done
grep -q ' zeroes 2097152 102400 .*no-hole' "$EVIL_LOG" ||
	fail "a command and its flags are not in the log"

say "by TCP, and without what is new in the protocol"
python3 "$LIB/evil_nbd.py" --tcp "$image" refuse=go,structured,meta \
	>"$TEST_TMP/uri" &
other=$!
cleanup kill "$other"
wait_until 20 test -s "$TEST_TMP/uri" || fail "the server does not start"
assert_contains "$(<"$TEST_TMP/uri")" nbd://127.0.0.1: "URI"
nbdcopy "$(<"$TEST_TMP/uri")" "$TEST_TMP/copy"
assert_same_bytes "$TEST_TMP/copy" "$image"

say "lies"
lies size=123456789 read-only block-size=512,4096,65536
nbdinfo --json "$EVIL" >"$TEST_TMP/info" 2>/dev/null
assert_eq "$(jq -c '.exports[0] | [."export-size", .is_read_only,
	."block_size_minimum"]' "$TEST_TMP/info")" "[123456789,true,512]" "info"
for lie in option=magic option=early close=connect garbage=connect; do
	lies "$lie"
	! nbdinfo --size "$EVIL" >"$TEST_TMP/log" 2>&1 || fail "$lie"
done
for lie in close=mid-go error=read:EIO error=any:ESHUTDOWN close=read:2 close=mid-read \
	reply=cookie reply=magic read=short read=gap read=outside; do
	lies "$lie"
	! nbdcopy --synchronous "$EVIL" "$TEST_TMP/copy" 2>"$TEST_TMP/log" ||
		fail "$lie"
done
lies zeroes=65536
stale $((24 * MIB)) >"$image"
qemu-io -f raw -c 'write -z 1M 1M' "$EVIL"
assert_zeros "$image" $MIB 65536 "the part that is zeroed"
assert_stale "$image" $((MIB + 65536)) $((MIB - 65536)) "the rest"
lies trim=scribble
qemu-io -f raw -c 'discard 8M 64k' "$EVIL"
cmp <(on_device "$image" $((8 * MIB)) 65536) \
	<(head -c 65536 /dev/zero | tr '\0' '\134') || fail "trim=scribble"

say "a lie that is told and ended while a client waits"
lies hang=read dribble=0
qemu-io -f raw -c 'read -P 0 1M 4096' "$EVIL" >"$TEST_TMP/log" &
client=$!
before=$(commands read)
read_arrived() {
	(($(commands read) > before))
}
wait_until 20 read_arrived || fail "no read arrives"
! gone "$client" || fail "the read is answered"
lies
wait "$client" || fail "the read failed"

say "another one when it starts anew"
evil "$image" size=4096
assert_eq "$(nbdinfo --size "$EVIL")" 4096 "size"
