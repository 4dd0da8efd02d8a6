#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The dirty bitmap of a qcow2 image, as qemu-nbd exports it, tells what has
# changed: no more than that is read, and the result is the present content. A
# bitmap that is not there, that may change, or whose server was lost, ends in an
# error.
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
requires qemu-img qemu-nbd qemu-io jq python3

size=$((64 << 20))
image=$TEST_TMP/image.qcow2 base=$TEST_TMP/base dst=$TEST_TMP/dst
socket=$TEST_TMP/socket
uri="nbd+unix:///?socket=$socket"

# serve [OPTION...]: exports the image at $uri, with the pid $PID.
serve() {
	qemu-nbd -f qcow2 -k "$socket" --persistent --fork \
		--pid-file="$TEST_TMP/pid" "$@" "$image"
	PID=$(<"$TEST_TMP/pid")
	cleanup end_server "$PID"
}

end_server() {
	kill "$1" 2>/dev/null || true
	wait_until 10 gone_or_zombie "$1" || fail "qemu-nbd did not end"
	rm -f "$socket"
}

qemu-img create -q -f qcow2 "$image" "$size"
qemu-io -f qcow2 -c "write -P 0x61 0 $size" "$image" >/dev/null
qemu-img convert -f qcow2 -O raw "$image" "$base"
qemu-img bitmap --add "$image" one
qemu-img bitmap --add "$image" none
qemu-io -f qcow2 -c "write -P 0x62 1M 64k" -c "write -z 8M 1M" \
	-c "write -P 0x63 32M 4k" -c "write -P 0x65 40M 16M" -c "write -P 0x64 $((size - 65536)) 64k" \
	"$image" >/dev/null
qemu-img bitmap --disable "$image" none
qemu-img bitmap --clear "$image" none
qemu-img bitmap --disable "$image" one
qemu-img convert -f qcow2 -O raw "$image" "$TEST_TMP/new"
# The bitmap has units of 64 KiB.
changed=$((65536 + (1 << 20) + 65536 + (16 << 20) + 65536))
bitmap=nbd:qemu:dirty-bitmap:one

# read_bytes COMMAND...: runs it, and sets $READ to what the server read from the
# image, its metadata among it.
read_bytes() {
	local before
	before=$(server_read)
	"$@"
	READ=$(($(server_read) - before))
}

server_read() {
	sed -n 's/^rchar: //p' "/proc/$PID/io"
}

for shared in 1 4; do
	say "copy, $shared connections"
	serve -r -e "$shared" -B one -B none
	cp "$base" "$dst"
	read_bytes "$TOOL" copy --changes="$bitmap" --json "$uri" "$dst" >"$TEST_TMP/json"
	assert_same_bytes "$TEST_TMP/new" "$dst"
	assert_eq "$(jq .unchanged "$TEST_TMP/json")" $((size - changed)) "unchanged"
	assert_le "$READ" $((changed + changed / 100)) "bytes read"
	assert_ge "$READ" $((3 * 65536 + (16 << 20))) "bytes read" # the others are zeros

	say "a bitmap without changes"
	cp "$base" "$dst"
	read_bytes "$TOOL" copy --changes=nbd:qemu:dirty-bitmap:none --json "$uri" "$dst" \
		>"$TEST_TMP/json"
	assert_same_bytes "$base" "$dst"
	assert_eq "$(jq .unchanged "$TEST_TMP/json")" "$size" "unchanged"
	assert_le "$READ" 65536 "bytes read"
	end_server "$PID"
done

say "send"
serve -r -B one
"$TOOL" digest --quiet --output="$TEST_TMP/digest" "$base"
read_bytes "$TOOL" send --quiet --changes="$bitmap" --since="$TEST_TMP/digest" "$uri" \
	>"$TEST_TMP/stream"
assert_le "$READ" $((changed + changed / 100)) "bytes read"
cp "$base" "$dst"
"$TOOL" recv --quiet --check-base "$dst" <"$TEST_TMP/stream"
assert_same_bytes "$TEST_TMP/new" "$dst"

say "what is refused"
cp "$base" "$dst"
# refused STATUS MESSAGE OPTION...
refused() {
	run_status "$TOOL" "${@:3}"
	assert_eq "$STATUS" "$1" "status"
	assert_contains "$ERR" "$2" "message"
	assert_same_bytes "$base" "$dst"
}
refused 1 "no such bitmap" copy --changes=nbd:qemu:dirty-bitmap:two "$uri" "$dst"
refused 2 "is not nbd:qemu:dirty-bitmap:NAME" copy --changes=nbd:base:allocation "$uri" "$dst"
refused 2 "is not nbd:qemu:dirty-bitmap:NAME" copy --changes=nbd:qemu:dirty-bitmap: "$uri" "$dst"
refused 2 "is not the URI" copy --changes="$bitmap" "$base" "$dst"
run_status "$TOOL" copy --changes=nbd:qemu:dirty-bitmap:two --fall-back "$uri" "$dst"
assert_eq "$STATUS" 0 "status, falling back"
assert_same_bytes "$TEST_TMP/new" "$dst"
cp "$base" "$dst"
end_server "$PID"

say "an export that can be written"
serve -B one
refused 1 "read-only" copy --changes="$bitmap" "$uri" "$dst"
end_server "$PID"

say "a server that is lost, and another at its address"
serve -r -B one
# The stream stops in a full pipe. Then another server takes the address.
mkfifo "$TEST_TMP/pipe"
"$TOOL" send --quiet --changes="$bitmap" --since="$TEST_TMP/digest" "$uri" \
	>"$TEST_TMP/pipe" 2>"$TEST_TMP/err" &
sender=$!
exec 3<"$TEST_TMP/pipe"
head -c 65536 <&3 >/dev/null
end_server "$PID"
serve -r -B one
cat <&3 >/dev/null
exec 3<&-
status=0
wait "$sender" || status=$?
assert_eq "$status" 1 "status of a send over two servers"
cat "$TEST_TMP/err"
end_server "$PID"
