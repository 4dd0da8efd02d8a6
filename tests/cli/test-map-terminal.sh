#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# On a terminal, map shows progress while it scans, and Ctrl-C ends it. Without
# a terminal it prints nothing to stderr.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3

# Larger than can be scanned during a test; its file system is not asked for
# holes.
truncate -s 4T "$TEST_TMP/large"
loop_new "$TEST_TMP/large"
large=$LOOP
make_device mixed 1M small
small=$LOOP

say "progress, then Ctrl-C"
python3 - "$TOOL" "$large" <<'EOF'
import os, pty, re, subprocess, sys, termios
tool, device = sys.argv[1:]
master, slave = pty.openpty()
# By default Ctrl-C discards unread output; turn that off.
modes = termios.tcgetattr(slave)
modes[3] |= termios.NOFLSH
termios.tcsetattr(slave, termios.TCSANOW, modes)
child = subprocess.Popen([tool, "map", "--known=off", device], stdin=slave,
                         stdout=subprocess.PIPE, stderr=slave,
                         start_new_session=True, preexec_fn=lambda:
                         __import__("fcntl").ioctl(0, 0x540E, 0))
os.close(slave)
seen = b""
# The progress line must be drawn at least twice.
while len(re.findall(rb"\d+% of 4096\.0 GiB \(\d+ MiB data, \d+ MiB holes\), \d+ MiB/s", seen)) < 2:
    seen += os.read(master, 1000)
os.write(master, b"\x03")
out = child.stdout.read()
try:
    while more := os.read(master, 1000):
        seen += more
except OSError:
    pass  # the other end of the terminal is closed
status = child.wait()
print(seen)
assert status == 1, status
assert out == b"", out
assert b"\r\x1b[Kblksparse map: %b: interrupted\r\n" % device.encode() in seen
EOF

say "no progress line stays in a report on a terminal"
python3 - "$TOOL" "$small" <<'EOF'
import os, pty, sys
output = b""


def read(fd):
    global output
    data = os.read(fd, 1000)
    output += data
    return data


assert pty.spawn([sys.argv[1], "map", sys.argv[2]], read) == 0
last = output.split(b"\x1b[K")[-1]
assert b"% of" not in last, output
assert b"total" in last, output
EOF

say "no terminal"
run_status map "$small"
assert_eq "$STATUS" 0 "status"
assert_eq "$ERR" "" "stderr where there is no terminal"

say "signals"
for signal in INT TERM HUP; do
	# Background jobs of a script ignore SIGINT; env resets that.
	env --default-signal=INT "$TOOL" map --known=off "$large" >"$TEST_TMP/out" \
		2>"$TEST_TMP/err" &
	pid=$!
	catches() {
		# The bits of SIGHUP, SIGINT and SIGTERM. The shell catches
		# them too, until it executes the program.
		local caught
		[[ /proc/$pid/exe -ef $TOOL ]] || return
		caught=$(sed -n 's/^SigCgt:\t//p' "/proc/$pid/status")
		(((16#$caught & 0x4003) == 0x4003))
	}
	wait_until 10 catches || fail "map does not catch its signals"
	kill -"$signal" "$pid"
	status=0
	wait "$pid" || status=$?
	assert_eq "$status" 1 "status after SIG$signal"
	assert_eq "$(<"$TEST_TMP/err")" \
		"blksparse map: $large: interrupted" "message after SIG$signal"
	assert_eq "$(<"$TEST_TMP/out")" "" "report after SIG$signal"
done
