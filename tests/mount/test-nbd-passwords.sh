#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# No user sees the password of a URI: not in the list of processes, of this program
# or of those that it runs, nor in the list of mounts, in messages or in syslog.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/nbd.sh
. "$LIB/nbd.sh"
requires_fuse
requires_root
requires nbdkit findmnt unshare

# The test has a /dev/log of its own.
if [[ -z ${IN_NAMESPACE:-} ]]; then
	IN_NAMESPACE=1 unshare -m --propagation private bash "$0"
	exit
fi

mkdir "$TEST_TMP/dev" "$MNT"
mount -t tmpfs none "$TEST_TMP/dev"
cp -a /dev/{null,zero,urandom,fuse} "$TEST_TMP/dev/"
ln -s /proc/self/fd "$TEST_TMP/dev/fd"
mount --move "$TEST_TMP/dev" /dev
cleanup force_umount "$MNT"

secret=gehe1m$RANDOM
nbd_start a tcp nbdkit memory 1M
uri=${NBD/:\/\//://user:$secret@}
shown=${NBD/:\/\//://user:***@}

# has_secret FILE...: prints those that have it, and is false if there are none.
# The commands of the test have it in no argument.
has_secret() {
	python3 -c 'import os, sys
secret = os.environ["SECRET"].encode()
def has(name):
    try:
        with open(name, "rb") as file:
            return secret in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return False # a process that has ended
found = [name for name in sys.argv[1:] if has(name)]
print(*found)
sys.exit(not found)' "$@"
}

# hidden WHAT FILE...: it is not in these files, and nowhere where all users look.
hidden() {
	local found
	! found=$(SECRET=$secret has_secret /proc/[0-9]*/cmdline \
		/proc/self/mountinfo "${@:2}") ||
		fail_at "$1: the password is in $found"
}

say "the test finds a password"
bash -c 'while sleep 0.1; do :; done' "$secret" &
known=$!
! (hidden "known") 2>/dev/null || fail "it does not"
kill "$known"
wait "$known" || true # killed

say "in the foreground"
mount_fs -o log=debug "x=$uri"
assert_eq "$(findmnt -n -o SOURCE "$MNT")" "$shown" "the source"
hidden "mounted" "$FS_LOG"
nbd_kill a
! cat "$MNT/x" >"$TEST_TMP/out" 2>&1 || fail "a read without a server"
hidden "without a server" "$FS_LOG" "$TEST_TMP/out"
umount_fs
assert_contains "$(<"$FS_LOG")" "$shown" "the log"
hidden "unmounted" "$FS_LOG"

say "messages about what is wrong"
for args in "$uri $MNT" "-o rw $uri $MNT" "$uri $uri $MNT" "=$uri $MNT" \
	"a/b=$uri $MNT" "$uri" "$uri $uri" "-o fsname=$uri,nonsense $uri $MNT" \
	"-o fsnam=$uri $uri $MNT" "--all $uri $MNT" "--all $uri" \
	"--all x $uri" "-o name=$uri a b $MNT"; do
	# shellcheck disable=SC2086 # several words
	! "$FS" -f $args 2>"$TEST_TMP/message" || fail "it mounts"
	hidden "${args//$secret/***}" "$TEST_TMP/message"
	cat "$TEST_TMP/message"
done

say "in the background, with a helper that stays, and syslog"
python3 -c 'import socket, sys
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind("/dev/log")
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        file.write(log.recv(65536) + b"\n")' "$TEST_TMP/syslog" &
cleanup kill $!
wait_until 20 test -S /dev/log || fail "no socket"
nbd_restart a
"$FS" -o auto_unmount,log=info,fsname="$uri" "x=$uri" "$MNT"
assert_eq "$(findmnt -n -o SOURCE "$MNT")" "$shown" "the source"
wait_until 20 grep -qs "mounted at" "$TEST_TMP/syslog" || fail "no message"
hidden "in the background" "$TEST_TMP/syslog"
nbd_kill a
! cat "$MNT/x" >"$TEST_TMP/out" 2>&1 || fail "a read without a server"
umount "$MNT"
wait_until 20 grep -q "unmounted" "$TEST_TMP/syslog" || fail "no message"
assert_contains "$(<"$TEST_TMP/syslog")" "$shown" "syslog"
hidden "at the end" "$TEST_TMP/syslog" "$TEST_TMP/out"
