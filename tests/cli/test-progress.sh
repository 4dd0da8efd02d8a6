#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The progress of copy, send and recv, on a terminal and elsewhere, and their
# messages and targets after Ctrl-C.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3 jq

cd "$TEST_TMP"
# Larger than can be read during a test, and without data. It must be read: its
# file system is not asked for holes.
truncate -s 4T huge
loop_new "$TEST_TMP/huge"
huge=$LOOP
make_device mixed 8M device
"$TOOL" send --quiet "$LOOP" >stream

# A slow reader or writer makes a transfer last until it has shown progress.
cat >watch.py <<'PY'
"""watch.py tty|pipe LINES SLOW COMMAND...: runs COMMAND with its stderr on a
terminal or a pipe until it has drawn LINES progress lines, or, if LINES is 0,
for as long as it would need to draw one. Then presses Ctrl-C. Feeds the file
SLOW, unless empty, slowly to its stdin. Prints its stderr, and exits with its
status."""
import fcntl, os, pty, re, signal, subprocess, sys, termios, threading, time
where, lines, slow, *command = sys.argv[1:]
ours, theirs = pty.openpty() if where == "tty" else os.pipe()
if where == "tty":
    # By default Ctrl-C discards unread output; turn that off.
    modes = termios.tcgetattr(theirs)
    modes[3] |= termios.NOFLSH
    termios.tcsetattr(theirs, termios.TCSANOW, modes)


def session():
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if where == "tty":
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)


def feed(to):
    data = open(slow, "rb").read()
    for at in range(0, len(data), 1 << 16):
        try:
            to.write(data[at:at + (1 << 16)])
            to.flush()
        except BrokenPipeError:
            return
        time.sleep(0.1)


def press():
    if where == "tty":
        os.write(ours, b"\x03")
    else:
        child.send_signal(signal.SIGINT)


child = subprocess.Popen(command, stdin=subprocess.PIPE if slow else None,
                         stdout=open("out", "wb"), stderr=theirs,
                         preexec_fn=session)
os.close(theirs)
if slow:
    threading.Thread(target=feed, args=[child.stdin], daemon=True).start()
if lines == "0":
    threading.Timer(1.5, press).start()
line = rb"(% of [0-9.]+ GiB|GiB) \(\d+ MiB data, \d+ MiB holes\), \d+ MiB/s"
seen = b""
pressed = lines == "0"
try:
    while more := os.read(ours, 1000):
        seen += more
        if not pressed and len(re.findall(line, seen)) >= int(lines):
            pressed = True
            press()
except OSError:
    pass  # the other end of the terminal is closed
sys.stdout.buffer.write(seen)
assert pressed, "it ended by itself"
sys.exit(child.wait())
PY

# watch tty|pipe LINES SLOW COMMAND...: runs watch.py; sets $STATUS and $SEEN.
watch() {
	STATUS=0
	timeout 60 python3 watch.py "$@" >seen || STATUS=$?
	SEEN=$(tr '\r' '\n' <seen)
	echo "+ ${*:4} => $STATUS"
	echo "$SEEN" | tail -n 4
}

# ended_by_interrupt MESSAGE: checks that the progress line was erased before
# this message.
ended_by_interrupt() {
	assert_eq "$STATUS" 1 "status"
	[[ ${SEEN##*$'\e[K'} == *"$1"* ]] || fail_at "no '$1' in the end"
	# Elsewhere than on a terminal, lines stay as they are.
	[[ $where == tty ]] || assert_eq "$(tr -d -c '\r\033' <seen | wc -c)" 0 \
		"escapes in a pipe"
	# The size is known, so the time left is shown.
	assert_contains "$SEEN" " left" "progress"
}

for where in tty pipe; do
	options=()
	[[ $where == tty ]] || options=(--progress)
	say "copy, $where"
	watch "$where" 2 "" "$TOOL" copy --json --known=off "${options[@]}" \
		"$huge" copy
	ended_by_interrupt "; copy is incomplete"
	assert_contains "$SEEN" "interrupted after " "message"
	jq -e '.complete == false and (.error | startswith("interrupted")) and
		.hole > 0 and .hole < .size and .size == 4398046511104' out
	say "send, $where"
	watch "$where" 2 "" "$TOOL" send --known=off "${options[@]}" "$huge"
	ended_by_interrupt "interrupted; it was sent up to byte 0 of "
	say "recv, $where"
	watch "$where" 2 stream "$TOOL" recv "${options[@]}" received
	ended_by_interrupt "interrupted; the target is good and durable up to "
	good=$(sed -n 's/.* durable up to \([0-9]*\).*/\1/p' <<<"$SEEN")
	assert_ge "$good" 1 "offset"
	cmp -n "$good" device received || fail "not good up to $good"
done

# of_size COLUMNS COMMAND...: its output on a terminal that is so wide, one update a
# line.
of_size() {
	timeout 60 python3 - "$@" <<'PY'
import fcntl, os, pty, struct, subprocess, sys, termios
columns, *command = sys.argv[1:]
ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(columns), 0, 0))
child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs,
                         start_new_session=True)
os.close(theirs)
seen = b""
try:
    while more := os.read(ours, 1000):
        seen += more
except OSError:
    pass  # the other end of the terminal is closed
print(seen.decode().replace("\r\n", "\n").replace("\r", "\n"))
sys.exit(child.wait())
PY
}

say "on a narrow terminal"
cat >three <<-END
	timeout 2 "$TOOL" copy --known=off "$huge" copy
	exit 0
END
of_size 30 bash three | grep '^ *[0-9]*% of' >lines
assert_ge "$(wc -l <lines)" 2 "updates"
assert_le "$(sed 's/\x1b\[K.*//' lines | wc -L)" 29 "columns"

say "two programs of a pipe share the line"
cat >pipe <<-END
	timeout 3 "$TOOL" send --known=off "$huge" | timeout 3 "$TOOL" recv received
	exit 0
END
of_size 100 bash pipe >both
assert_ge "$(grep -c '% of' both)" 2 "updates"
# The receiver, too, knows the size, and has done less at any time: alone, one
# program never goes back.
sed -n 's/.*MiB data, \([0-9]*\) MiB holes.*/\1/p' both >holes
sort -n -c holes || fail "two programs draw"

say "holes that are known are not a rate"
truncate -s 1T known
loop_new "$TEST_TMP/known"
"$TOOL" map --progress=json --summary "$LOOP" >/dev/null 2>seen
jq -es '.[-1].done == 1099511627776 and .[-1].rate < 1e11' seen

# Each line of stderr but the last is an object with the right figures.
say "as JSON"
cp --sparse=never device copied
loop_new "$TEST_TMP/copied"
for command in "copy --known=off $LOOP json-target" "send $LOOP" \
	"digest $LOOP" "map $LOOP" "diff $LOOP device"; do
	# shellcheck disable=SC2086 # words
	"$TOOL" $command --progress=json >out 2>seen
	echo "$command: $(head -n 1 seen)"
	grep '^{"format":"blksparse-progress"' seen >lines ||
		fail "$command writes no progress"
	jq -es 'all(.version == 1 and .done <= .size and .size == 8388608 and
		.seconds >= 0 and .rate >= 0) and
		([.[].done] | . == sort) and .[-1].done == .[-1].size' lines
	case $command in
	copy* | send* | map*)
		jq -es '.[-1] | .data > 0 and .data + .hole == .size' lines
		;;
	esac
done
"$TOOL" recv --progress=json json-target <stream 2>seen
jq -es 'map(select(.format == "blksparse-progress"))[-1] |
	.done == 8388608 and .left == 0' <(grep '^{' seen)
# Each pass begins at 0 and ends with its size; data and holes are those of what is done.
"$TOOL" copy --verify --known=off "$LOOP" json-target --progress=json 2>seen
grep '^{"format":"blksparse-progress"' seen >lines
jq -es 'map(select(.done == .size)) | length >= 2 and
	.[0].data + .[0].hole == .[0].size and .[-1].data == null' lines ||
	fail "the passes: $(<lines)"
run_status "$TOOL" copy --progress=bar device x
assert_eq "$STATUS" 2 "status of another form"
assert_contains "$ERR" "'bar' is neither line nor json" "message"

say "--quiet, or no terminal: no progress, however long it takes"
for words in "tty --quiet" "pipe"; do
	read -r where option <<<"$words"
	for command in "copy --known=off $huge target" \
		"send --known=off $huge" "recv target"; do
		slow=
		[[ $command != recv* ]] || slow=stream
		# shellcheck disable=SC2086 # words
		watch "$where" 0 "$slow" "$TOOL" $command $option
		assert_eq "$STATUS" 1 "status"
		assert_lacks "$SEEN" "MiB/s" "the output"
		# The terminal itself echoes Ctrl-C.
		assert_eq "$(grep -c "^blksparse" <<<"${SEEN/^C/}")" 1 "lines"
		assert_contains "$SEEN" "blksparse ${command%% *}: interrupted" "text"
	done
done
for command in "copy --quiet --progress $huge x" "send --quiet --progress $huge"; do
	# shellcheck disable=SC2086 # words
	run_status "$TOOL" $command
	assert_eq "$STATUS" 2 "status of $command"
done
