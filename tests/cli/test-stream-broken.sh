#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Broken streams, their resumption, and targets that recv refuses.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 jq

cd "$TEST_TMP"

make_device mixed 8M device
source=$LOOP
"$TOOL" send --quiet "$source" >stream
length=$(stat -c %s stream)

# old_device SIZE: makes a loop device $OLD, filled with 0xAA.
old_device() {
	head -c "$1" /dev/zero | tr '\0' '\252' >old
	loop_new "$TEST_TMP/old"
	OLD=$LOOP
}

# good_up_to: prints the offset in the message $ERR.
good_up_to() {
	sed -n 's/.* good and durable up to \([0-9]*\).*/\1/p' <<<"$ERR"
}

# feed COMMAND...: run_status with standard input.
feed() {
	STATUS=0
	"$@" >out 2>err || STATUS=$?
	ERR=$(<err)
	echo "+ $* => $STATUS ${ERR:+[$ERR]}"
}

# resume_as_told TARGET: runs the command of the message, and compares.
resume_as_told() {
	local command=${ERR##*resume it with: }
	assert_contains "$command" "SRC | blksparse recv --resume $1" "command"
	command=${command//blksparse /$TOOL }
	bash -c "set -o pipefail; ${command/SRC/$source}" 2>&1 ||
		fail "cannot resume: $command"
	cmp -n "$(stat -c %s device)" device "$1" || fail "$1 has wrong bytes"
}

say "cut at many places"
for cut in 0 1 63 64 65 103 104 105 5000 100000 $((length / 2)) \
	$((length - 65)) $((length - 64)) $((length - 1)); do
	old_device 8M
	feed "$TOOL" recv "$OLD" < <(head -c "$cut" stream)
	assert_eq "$STATUS" 1 "status"
	assert_contains "$ERR" "the stream broke at byte $cut: " "message"
	good=$(good_up_to)
	if [[ -n $good ]]; then
		cmp -n "$good" device "$OLD" || fail "not good up to $good"
		resume_as_told "$OLD"
	else
		cmp old <(head -c 8M /dev/zero | tr '\0' '\252') ||
			fail "the target was written to, but the message does not say so"
	fi
	loop_free "$OLD"
done

say "into a file, twice"
rm -f file
feed "$TOOL" recv file < <(head -c 200000 stream)
good=$(good_up_to)
feed "$TOOL" recv --resume file \
	< <("$TOOL" send --quiet --from="$good" "$source" | head -c 500000)
assert_eq "$STATUS" 1 "status"
(($(good_up_to) > good)) || fail "the second attempt got no further than $good"
resume_as_told file
assert_le "$(allocated file)" "$(($(python3 "$LIB/devices.py" data device) + 65536))" \
	"allocated"

say "changed bytes"
python3 - "$TOOL" stream device <<'PY'
import random, re, subprocess, sys
tool, stream, device = sys.argv[1:]
stream = open(stream, "rb").read()
device = open(device, "rb").read()
rng = random.Random(1)
for _ in range(60):
    at = rng.randrange(len(stream))
    bad = bytearray(stream)
    bad[at] ^= 1 << rng.randrange(8)
    child = subprocess.run([tool, "recv", "damaged"], input=bad,
                           capture_output=True)
    assert child.returncode == 1, (at, child)
    said = re.search(rb"the stream broke at byte (\d+): ", child.stderr)
    assert said and int(said[1]) <= at, (at, child.stderr)
    good = re.search(rb"up to (\d+)", child.stderr)
    if good:
        with open("damaged", "rb") as target:
            good = int(good[1])
            assert target.read(good) == device[:good], at
PY

say "bytes past the end"
feed "$TOOL" recv file < <(cat stream stream)
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "broke at byte $length: more bytes follow" "message"

say "not a stream"
feed "$TOOL" recv file < <(head -c 100000 /dev/urandom)
assert_contains "$ERR" "broke at byte 0: this is not a blksparse stream" "text"
feed "$TOOL" recv --format=rbd-diff file <stream
assert_contains "$ERR" "broke at byte 0: this is not an rbd diff" "text"
feed "$TOOL" recv --format=rbd-diff file \
	< <(printf 'rbd diff v1\nf\3\0\0\0olds\0\0\0\0\0\0\0\0e')
assert_contains "$ERR" "difference from a snapshot" "text"

assert_contains "$ERR" "difference from a snapshot" "text"
feed "$TOOL" recv file </dev/null
assert_eq "$STATUS" 1 "status of an empty stream"
assert_contains "$ERR" "it is empty; see the message of its sender" "message"
feed "$TOOL" recv file < <(yes text | head -c 1000)
assert_contains "$ERR" "its format may be raw" "message"
feed "$TOOL" recv file < <(echo text)
assert_contains "$ERR" "broke at byte 0: this is not a blksparse stream" "short text"
feed "$TOOL" recv - <stream
assert_eq "$STATUS" 2 "status of recv -"
assert_contains "$ERR" "DST is missing" "message"
[[ ! -e ./- ]] || fail "a file named - was made"
feed "$TOOL" recv --format=raw of-native <stream
assert_eq "$STATUS" 0 "status: raw takes all bytes"
assert_contains "$ERR" "leave out --format=raw" "warning"
assert_same_bytes of-native stream

say "a stream that starts at an offset, without --resume"
old_device 8M
"$TOOL" send --quiet --from=1M "$source" >rest
feed "$TOOL" recv "$OLD" <rest
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "starts at byte 1048576" "message"
cmp old <(head -c 8M /dev/zero | tr '\0' '\252') || fail "the target was written to"
feed "$TOOL" recv --resume missing <rest
assert_eq "$STATUS" 1 "status"
truncate -s 9M other
feed "$TOOL" recv --resume other <rest
assert_contains "$ERR" "other is not the target that the stream resumes" "message"
loop_free "$OLD"

say "targets that are too small"
old_device 7M
feed "$TOOL" recv "$OLD" <stream
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "is too small: it has 7340032 bytes, and 8388608" "text"
cmp old <(head -c 7M /dev/zero | tr '\0' '\252') || fail "the target was written to"
feed "$TOOL" recv --format=raw "$OLD" <device
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "is too small" "text"
loop_free "$OLD"

say "targets that are in use or cannot be targets"
feed "$TOOL" recv device <stream
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "$source" "an image that a loop device has"
feed "$TOOL" recv /dev/null <stream
assert_contains "$ERR" "/dev/null is a character device" "message"
feed "$TOOL" recv no/such/file <stream
assert_contains "$ERR" "No such file" "message"

say "a full disk"
mkdir -p small
mount -t tmpfs -o size=1M none small
cleanup force_umount "$TEST_TMP/small"
feed "$TOOL" recv small/file <stream
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "write small/file at byte " "message"
assert_contains "$ERR" "No space left on device" "message"
good=$(good_up_to)
cmp -n "$good" device small/file || fail "not good up to $good"
umount small
feed sh -c "'$TOOL' send '$source' >/dev/full"
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "write the stream: No space left on device" "message"

say "a reader that closes the pipe"
STATUS=0
{ "$TOOL" send "$source" 2>err || echo "$?" >status; } | head -c 10 >/dev/null
assert_eq "$(<status)" 1 "status of send"
assert_contains "$(<err)" "Broken pipe: its receiver has ended" "message"

say "options that do not go together"
for words in "send" "send a b" "send --format=tar $source" "recv" \
	"send --from=1M --format=raw $source" "send --from=1T $source" \
	"recv --resume --target-is-zero file" "recv --resume --format=raw file" \
	"send --quiet --json $source" "send --granule=5000 $source"; do
	# shellcheck disable=SC2086 # words
	feed "$TOOL" $words <stream
	assert_eq "$STATUS" 2 "status of $words"
done

say "Ctrl-C"
rm file # a new file shows how much has arrived
mkfifo pipe
"$TOOL" recv --json file <pipe >json 2>err &
pid=$!
exec 5>pipe
head -c 300000 stream >&5
# All data has arrived once the file is that long.
wait_until 10 sh -c "[ \$(stat -c %b file) -gt 8 ]"
kill -TERM "$pid"
STATUS=0
wait "$pid" || STATUS=$?
exec 5>&-
ERR=$(<err)
echo "$ERR"
assert_eq "$STATUS" 1 "status"
assert_contains "$ERR" "interrupted; the target is good and durable" "message"
assert_eq "$(jq .complete json)" false "complete"
assert_eq "$(jq .done json)" "$(good_up_to)" "done"
resume_as_told file

say "terminals"
python3 - "$TOOL" "$source" stream <<'PY'
import os, pty, subprocess, sys
tool, source, stream = sys.argv[1:]


def run(command, **other):
    master, slave = pty.openpty()
    for name, value in other.items():
        other[name] = slave if value == "tty" else value
    child = subprocess.Popen([tool, *command], **other)
    os.close(slave)
    seen = b""
    try:
        while more := os.read(master, 1000):
            seen += more
    except OSError:
        pass  # the other end of the terminal is closed
    return child.wait(), seen


status, seen = run(["send", source], stdout="tty", stderr="tty")
assert status == 2 and b"is a terminal" in seen, (status, seen)
status, seen = run(["recv", "file"], stdin="tty", stderr="tty")
assert status == 2 and b"is a terminal" in seen, (status, seen)

# A slow stream shows progress, which is erased at the end.
slow = subprocess.Popen(["sh", "-c", "head -c 100000 $0; sleep 1; "
                         "tail -c +100001 $0", stream],
                        stdout=subprocess.PIPE)
status, seen = run(["recv", "file"], stdin=slow.stdout, stderr="tty")
assert status == 0, seen
assert b"% of 0.0 GiB (" in seen and b" MiB holes), " in seen, seen
last = seen.split(b"\x1b[K")[-1]
assert last.startswith(b"blksparse recv: file: 8.0 MiB, "), last
slow = subprocess.Popen(["sh", "-c", "head -c 100000 $0; sleep 1; "
                         "tail -c +100001 $0", stream],
                        stdout=subprocess.PIPE)
status, seen = run(["recv", "--quiet", "file"], stdin=slow.stdout,
                   stderr="tty")
assert (status, seen) == (0, b""), seen
PY
loop_free "$source"
