#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Ends recv at any moment of an increment: by signals, and by streams that are cut,
# damaged, shuffled, of another base or of another size. No target that is changed in
# part is ever taken for the base. Each time the target has to be good up to the
# promised offset, and the increment goes on from there, or from its start, until all
# has arrived.
#
# test-increment-kill.sh [ROUNDS]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires_loop
requires python3

cd "$TEST_TMP"

# The content, and a part of the device behind it.
python3 "$LIB/devices.py" make mixed 12M base
truncate -s 13M old
loop_new "$TEST_TMP/old"

PYTHONPATH=$CLI python3 - "$TOOL" "$LOOP" "${1:-50}" <<'PY'
import os, random, re, shutil, signal, subprocess, sys, time
from broken_streams import SIGNALS, attempt, damaged

tool, device, rounds = sys.argv[1:]
DAMAGE = ("cut", "flip", "order", "twice")
FOREIGN = ("other base", "other size")
TAIL = b"\xaa" * (1 << 20)
seed = int(os.environ.get("BSP_SEED", 7))
dice = random.Random(seed)
print(f"seed {seed}, {rounds} rounds")


def run(*words):
    return subprocess.run([tool, *words], check=True, capture_output=True).stdout


def store(path, content):
    with open(path, "wb") as file:
        file.write(content)


def load(path):
    with open(path, "rb") as file:
        return file.read()


def changed(content, times):
    """Changes bytes, and makes zeros, in small and in large parts."""
    new = bytearray(content)
    for _ in range(times):
        length = dice.choice((1, 4096, 5000, 70000, 300000))
        at = dice.randrange(len(new) - length)
        new[at:at + length] = bytes(length) if dice.random() < .4 \
            else dice.randbytes(length)
    return bytes(new)


base = load("base")
run("digest", "--quiet", "--output=base.digest", "base")
store("larger", base + base)
run("digest", "--quiet", "--output=larger.digest", "larger")


class Round:
    def __init__(self, number):
        self.number = number
        self.target = device if dice.random() < .7 else "target"
        self.new = changed(base, 50)
        store("new", self.new)
        self.whole = run("send", "--quiet", "--since=base.digest", "new")
        if self.target == device:
            with open(device, "r+b") as file:
                file.write(base + TAIL)
        else:
            store("target", base)
        self.good = 0
        self.what = ""

    def content(self):
        return load(self.target)[:len(base)] if self.target == device \
            else load(self.target)

    def stream(self, how, resuming):
        """Returns a stream, and whether it can be completed by itself."""
        if how == "other base":
            # It differs in one byte.
            at = dice.randrange(len(base))
            store("other", base[:at] + bytes([base[at] ^ 1]) + base[at + 1:])
            run("digest", "--quiet", "--output=other.digest", "other")
            return run("send", "--quiet", "--since=other.digest", "new")
        if how == "other size":
            return run("send", "--quiet", "--since=larger.digest", "new")
        stream = self.whole
        if resuming and self.good and dice.random() < .7:
            stream = run("send", "--quiet", "--since=base.digest",
                         f"--from={self.good}", "new")
        return damaged(dice, stream, how) if how in DAMAGE else stream

    def proof(self, resuming):
        """The options that prove that the target is the base."""
        if resuming:
            return ["--resume", "--check-base"]
        if dice.random() < .5:
            return ["--check-base"]
        shutil.copy("base.digest", "proof.digest")
        return ["--base=proof.digest"]

    def check_good(self):
        now = self.content()[:self.good]
        if now != self.new[:self.good]:
            at = next(i for i in range(self.good) if now[i] != self.new[i])
            sys.exit(f"{self.what}: not good at byte {at}, below {self.good}")

    def check_not_taken(self):
        """Nothing but the base is taken for it."""
        before = self.content()
        if before == base:
            return
        assert not os.path.exists("proof.digest"), self.what
        status, said = attempt(
            dice, [tool, "recv", "--quiet", "--check-base", self.target],
            self.whole, "", 0)
        assert status == 1 and "does not have the content" in said, \
            f"{self.what}: it was taken for the base: {said}"
        assert self.content() == before, f"{self.what}: a refused target"

    def failed(self, how, status, said, before):
        if how in FOREIGN:
            assert self.content() == before, f"{self.what}: it was changed"
        if status == -signal.SIGKILL:
            pass    # what was good stays good
        elif status < 0:
            # A signal before the program catches it.
            assert status in (-signal.SIGINT, -signal.SIGTERM), self.what
        else:
            assert status == 1, self.what
            promised = re.search(r"good and durable up to (\d+)", said)
            if promised:
                self.good = max(self.good, int(promised[1]))
        self.check_good()
        if dice.random() < .4:
            self.check_not_taken()

    def run(self, counts, seconds):
        """Returns how long it took to complete it."""
        tries = 0
        while True:
            tries += 1
            resuming = self.content() != base
            how = dice.choice((*SIGNALS, *DAMAGE) if resuming
                              else (*SIGNALS, *DAMAGE, *FOREIGN))
            if tries > 6:
                how = "whole"
            if os.path.exists("proof.digest"):
                os.unlink("proof.digest")
            options = self.proof(resuming)
            before = self.content()
            stream = self.stream(how, resuming)
            started = time.monotonic()
            status, said = attempt(
                dice, [tool, "recv", "--quiet", *options, self.target],
                stream, how, seconds)
            self.what = (f"round {self.number}, {self.target}, {how} after "
                         f"{tries}, {options}: {said!r}")
            if status == 0:
                assert how in (*SIGNALS, "whole"), self.what
                seconds = time.monotonic() - started
                break
            assert how != "whole", self.what
            counts[how] = counts.get(how, 0) + 1
            self.failed(how, status, said, before)
            if self.content() not in (base, self.new):
                counts["torn"] = counts.get("torn", 0) + 1
        assert self.content() == self.new, f"{self.what}: the end"
        if self.target == device:
            assert load(device)[len(base):] == TAIL, f"{self.what}: the tail"
        return seconds


counts, seconds = {}, 0.1
for number in range(int(rounds)):
    seconds = (seconds + Round(number).run(counts, seconds)) / 2
print("ended by", counts)
assert all(counts.get(how) for how in (*DAMAGE, *FOREIGN, "KILL", "torn")), counts
assert counts.get("INT", 0) + counts.get("TERM", 0), counts
PY
loop_free "$LOOP"
