#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Each error of blksparse map is one line with the right exit status.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires python3
cd "$TEST_TMP"
truncate -s 1M file
printf x | dd of=file bs=1 seek=500000 conv=notrunc status=none

# fails STATUS PART COMMAND...: checks that it fails with STATUS, prints one line
# to stderr that begins with the program's name and contains PART, and prints
# nothing to stdout.
fails() {
	run_status "${@:3}"
	assert_eq "$STATUS" "$1" "status of ${*:3}"
	assert_contains "$ERR" "$2" "message of ${*:3}"
	assert_eq "$(wc -l <"$TEST_TMP/.err")" 1 "lines of ${*:3}"
	[[ $ERR == "blksparse: "* || $ERR == "blksparse map: "* ]] ||
		fail "the message lacks the program's name: $ERR"
	assert_eq "$OUT" "" "stdout of ${*:3}"
}

say "usage"
fails 2 "no command" "$TOOL"
fails 2 "'foo'" "$TOOL" foo
fails 2 "--foo" "$TOOL" --foo
fails 2 "--format" "$TOOL" --format=json map file
fails 2 "no PATH" map
fails 2 "file2" map file file2
fails 2 "--foo" map --foo file
fails 2 "-x" map -x file
fails 2 "'xml'" map --format=xml file
fails 2 "ddrescue" map --format=xml file
fails 2 "--format" map file --format
fails 2 "--format" map --format= file
for size in 0 1 5000 2048 2M 12K 99999999999999999999 4X -4096 '' ' 4K'; do
	fails 2 "--granule: '$size'" map --granule="$size" file
done
for format in qemu bmap ddrescue; do
	fails 2 "--summary" map --summary --format="$format" file
done

say "paths"
fails 1 "nowhere: No such file or directory" map nowhere
fails 1 "file/x: Not a directory" map file/x
fails 1 "is a directory" map .
fails 1 "/dev/null is a character device" map /dev/null
mkfifo pipe
fails 1 "is a pipe" map pipe
ln -s loop loop
fails 1 "loop: Too many levels" map loop
if ((EUID == 0)); then
	chmod 600 file
	chmod 755 "$TEST_TMP"
	if command -v setpriv >/dev/null; then
		copy_program
		fails 1 "file: Permission denied" setpriv --reuid=65534 \
			--clear-groups "$TOOL" map "$TEST_TMP/file"
	fi
fi

say "standard output"
# shellcheck disable=SC2016 # the inner shell expands it
inner=('"$0" map file >/dev/full' '"$0" "$1" >/dev/full' '"$0" map file >&-'
	'{ sleep 0.1; "$0" map file; echo "$?" >status; } | true')
run_status bash -c "${inner[0]}" "$TOOL"
assert_eq "$STATUS" 1 "status where the disk is full"
assert_eq "$ERR" "blksparse map: standard output: No space left on device" \
	"message where the disk is full"
for option in --help --version; do
	run_status bash -c "${inner[1]}" "$TOOL" "$option"
	assert_eq "$STATUS" 1 "status of $option where the disk is full"
	assert_contains "$ERR" "No space left" "message of $option"
done
run_status bash -c "${inner[2]}" "$TOOL"
assert_eq "$STATUS" 1 "status without standard output"
assert_contains "$ERR" "standard output: Bad file descriptor" "its message"
# The reader closes the pipe before the report begins.
run_status bash -c "${inner[3]}" "$TOOL"
assert_eq "$(<status)" 1 "status without a reader"
assert_contains "$ERR" "standard output: Broken pipe" "message without a reader"

say "stderr is closed or full"
status=0
"$TOOL" map nowhere 2>&- >out || status=$?
assert_eq "$status" 1 "status without stderr"

say "a name with control characters does nothing to a terminal"
for command in map digest stat; do
	run_status "$TOOL" "$command" $'no\033[2J\nfile\302\233'
	assert_contains "$ERR" "no?[2J?file?" "message of $command"
	assert_lacks "$ERR" $'\033' "message of $command"
done

say "a file that shrinks"
# The report must be longer than all buffers: the full pipe stops the program
# until the file is truncated.
python3 - <<'EOF'
import os
with open("shrinks", "wb") as file:
    for at in range(0, 40 << 20, 8192):
        os.pwrite(file.fileno(), b"x" * 4096, at)
EOF
mkfifo held
map --format=qemu shrinks >held 2>err &
pid=$!
exec 9<held
head -c 10 <&9 >beginning
truncate -s 1M shrinks
cat <&9 >the-rest
status=0
wait "$pid" || status=$?
assert_eq "$status" 1 "status of a file that shrinks"
assert_contains "$(<err)" "shrinks: shrank" "message of a file that shrinks"
