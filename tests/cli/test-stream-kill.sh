#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Ends recv at any moment, while it writes and zeroes: by signals, and by streams
# that are cut, damaged or shuffled. Each time the target has to be good up to
# the promised offset, and the transfer goes on from there until all has arrived.
#
# test-stream-kill.sh [ROUNDS]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3

cd "$TEST_TMP"

make_device mixed 40M device
source=$LOOP
: >old
truncate -s 41M old
loop_new "$TEST_TMP/old"

PYTHONPATH=$CLI python3 - "$TOOL" "$source" "$LOOP" "${1:-50}" <<'PY'
import random, re, signal, subprocess, sys, time
from broken_streams import SIGNALS, attempt, damaged

tool, source, device, rounds = sys.argv[1:]
DAMAGE = ("cut", "flip", "order", "twice")
OLD = b"\xaa" * (41 << 20)
rng = random.Random(5)
print(f"seed 5, {rounds} rounds")
with open(source, "rb") as f:
    content = f.read()
whole = subprocess.run([tool, "send", "--quiet", source], check=True,
                       capture_output=True).stdout
def check(target, good, what):
    with open(target, "rb") as f:
        now = f.read(good)
    if now != content[:good]:
        at = next(i for i in range(good) if now[i] != content[i])
        sys.exit(f"{what}: not good at byte {at}, below {good}")


counts = {}
seconds = 0.1
for number in range(int(rounds)):
    target = device if rng.random() < 0.7 else "file"
    with open(target, "r+b" if target == device else "wb") as f:
        f.write(OLD)
    good, tries, resume, said = 0, 0, [], ""
    while True:
        tries += 1
        how = rng.choice((*SIGNALS, *DAMAGE))
        if tries > 6:
            how = "whole"
        stream = whole
        if resume:
            stream = subprocess.run(
                [tool, "send", "--quiet", f"--from={good}", source],
                check=True, capture_output=True).stdout
        started = time.monotonic()
        if how in DAMAGE:
            stream = damaged(rng, stream, how)
        status, said = attempt(
            rng, [tool, "recv", "--quiet", *resume, target], stream, how,
            seconds)
        what = f"round {number}, {target}, {how} after {tries}: {said!r}"
        if status == 0:
            assert how in (*SIGNALS, "whole"), what
            seconds = 0.5 * (seconds + time.monotonic() - started)
            break
        counts[how] = counts.get(how, 0) + 1
        assert how != "whole", what
        if status == -signal.SIGKILL:
            check(target, good, what)    # what was good stays good
            if not resume and target == "file":
                continue
        elif status < 0:
            # A signal before the program catches it.
            assert status in (-signal.SIGINT, -signal.SIGTERM), what
        else:
            assert status == 1, what
            promised = re.search(r"good and durable up to (\d+)", said)
            promised = int(promised[1]) if promised else good
            assert promised >= good, what
            good = promised
            check(target, good, what)
        if good:
            resume = ["--resume"]
    check(target, len(content), f"round {number}: the end")
    if target == device:
        with open(target, "rb") as f:
            f.seek(len(content))
            assert f.read() == OLD[len(content):], f"round {number}: the tail"
print("ended by", counts)
assert all(counts.get(how) for how in DAMAGE), counts
assert counts.get("INT", 0) + counts.get("TERM", 0) and counts.get("KILL"), counts
PY

say "the flush comes last"
BLKSPARSE_TRACE=1 "$TOOL" recv "$LOOP" \
	< <("$TOOL" send --quiet "$source" | head -c 9000000) 2>trace && fail "a cut stream"
grep -o 'device\.[a-z-]*' trace | tail -n 1 | grep -qx device.flush ||
	fail "the last call was $(grep 'device\.' trace | tail -n 1)"
grep -q 'device.flush .*result=0' trace || fail "no flush"
loop_free "$LOOP"
loop_free "$source"
