# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The functions that the shell tests share. Each test starts with
#
#	set -euo pipefail
#	. "$(dirname "$0")/../lib/common.sh"
#
# and then has
#
#	$SRC, $BUILD	the source tree, the build tree (default $SRC/build)
#	$LIB		this directory
#	$TEST_TMP	a private directory on a disk, removed at the end
#	$MNT		where mount_fs() mounts
#
# A test exits 0 if it passed, and 77 if it could not run; then its last line of
# output is the reason. Any other status is a failure. A test registers with
# cleanup() how to undo each thing that it sets up, so that all of it is undone
# however the test ends.

set -euo pipefail

LIB=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SRC=${SRC:-$(cd "$LIB/../.." && pwd)}
BUILD=${BUILD:-$SRC/build}
BUILD=$(realpath -m "$BUILD")
FS=${FS:-$BUILD/fuse/blksparsefs}
TOOL=${TOOL:-$BUILD/tools/blksparse}
export SRC BUILD LIB LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
# The distribution's programs come first: the tests are for those, and a version
# manager's python3 may take half a second to start. mount(8) and modprobe(8) are
# not on every user's path.
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH:/usr/local/sbin

# --- Ending ----------------------------------------------------------------

cleanups=()

# cleanup COMMAND [ARG...]: has it run at the end, in reverse order.
cleanup() {
	cleanups+=("$(printf '%q ' "$@")")
}

run_cleanups() {
	local status=$? i
	trap - EXIT
	trap '' INT TERM HUP
	set +e
	for ((i = ${#cleanups[@]} - 1; i >= 0; i--)); do
		if ! eval "${cleanups[i]}"; then
			echo "cleanup failed: ${cleanups[i]}" >&2
			((status != 0)) || status=1
		fi
	done
	exit "$status"
}

trap run_cleanups EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# skip REASON...: this test cannot run here.
skip() {
	echo "$*"
	exit 77
}

# fail MESSAGE...
fail() {
	echo "FAILED: $* (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]})" >&2
	exit 1
}

# say WORD...: a heading in the log.
say() {
	echo "--- $*"
}

# --- Requirements -----------------------------------------------------

# requires COMMAND...: skips when one of them is not installed.
requires() {
	local command
	for command; do
		command -v "$command" >/dev/null || skip "$command is not installed"
	done
}

requires_root() {
	((EUID == 0)) || skip "needs root"
}

requires_fuse() {
	[[ -c /dev/fuse ]] || skip "needs /dev/fuse"
	command -v fusermount3 >/dev/null || skip "fusermount3 is not installed"
	[[ -x $FS ]] || fail "$FS is not built"
}

requires_loop() {
	requires_root
	requires losetup
	losetup -f >/dev/null 2>&1 || skip "needs loop devices"
}

# --- Assertions ------------------------------------------------------------

# assert_eq ACTUAL EXPECTED WHAT
assert_eq() {
	[[ $1 == "$2" ]] ||
		fail_at "$3: expected '$2', got '$1'"
}

# assert_ne ACTUAL UNWANTED WHAT
assert_ne() {
	[[ $1 != "$2" ]] || fail_at "$3: is '$1'"
}

# assert_le ACTUAL LIMIT WHAT
assert_le() {
	(($1 <= $2)) || fail_at "$3: expected at most $2, got $1"
}

# assert_ge ACTUAL LIMIT WHAT
assert_ge() {
	(($1 >= $2)) || fail_at "$3: expected at least $2, got $1"
}

# assert_contains TEXT PART WHAT
assert_contains() {
	[[ $1 == *"$2"* ]] || fail_at "$3: expected '$2' in '$1'"
}

# assert_lacks TEXT PART WHAT
assert_lacks() {
	[[ $1 != *"$2"* ]] || fail_at "$3: unexpected '$2' in '$1'"
}

# assert_same_bytes FILE FILE
assert_same_bytes() {
	cmp "$1" "$2" || fail_at "$1 and $2 differ"
}

# As fail(), but names the line of the assertion's caller.
fail_at() {
	echo "FAILED: $* (${BASH_SOURCE[2]##*/}:${BASH_LINENO[1]})" >&2
	exit 1
}

# run_status COMMAND [ARG...]: runs it and sets $STATUS, $OUT and $ERR.
run_status() {
	STATUS=0
	"$@" >"$TEST_TMP/.out" 2>"$TEST_TMP/.err" </dev/null || STATUS=$?
	# shellcheck disable=SC2034 # for the caller
	OUT=$(<"$TEST_TMP/.out")
	ERR=$(<"$TEST_TMP/.err")
	echo "+ $* => $STATUS ${ERR:+[$ERR]}"
}

# wait_until SECONDS COMMAND [ARG...]: repeats the command until it succeeds;
# false after SECONDS.
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		((SECONDS <= end)) || return 1
		sleep 0.05
	done
}

is_settled() {
	(($(date +%s) - $(stat -c %Z "$1") > 5))
}

# wait_settled FILE...: waits until the last changes of these images are so long
# ago that a mount can tell a later change by its time.
wait_settled() {
	local file
	for file; do
		wait_until 10 is_settled "$file" || fail "$file is not settled"
	done
}

gone() {
	! kill -0 "$1" 2>/dev/null
}

# --- Files and devices -----------------------------------------------------

# allocated FILE: prints its allocated bytes.
allocated() {
	stat -c '%b * %B' "$1" | { read -r sum && echo "$((sum))"; }
}

# loop_new IMAGE [LOSETUP-OPTION...]: sets $LOOP to a new loop device, which is
# detached at the end.
loop_new() {
	local image=$1
	shift
	LOOP=$(losetup -f --show "$@" "$image")
	cleanup loop_free_of "$LOOP" "$(realpath "$image")"
	if command -v udevadm >/dev/null; then
		udevadm settle --timeout=10 || true # where no udevd runs
	fi
}

# loop_image DEVICE: prints its backing file; nothing if it is detached.
loop_image() {
	losetup -n -O BACK-FILE "$1" 2>/dev/null || true
}

# loop_left DEVICE IMAGE: true if IMAGE is no longer its backing file; another
# process may have reused it.
loop_left() {
	local image
	image=$(loop_image "$1")
	[[ $image != "$2" && $image != "$2 (deleted)" ]]
}

# loop_free DEVICE: detaches it if it is attached, and waits for that. The caller
# must still have it: not for cleanup, which may come when another test has it.
loop_free() {
	local image
	image=$(loop_image "$1")
	[[ -z $image ]] || loop_free_of "$1" "${image% (deleted)}"
}

# loop_free_of DEVICE IMAGE: the same, unless the device now belongs to another
# image, because another process reused its number.
loop_free_of() {
	! loop_left "$1" "$2" || return 0
	losetup -d "$1" || loop_left "$1" "$2" || return 1
	wait_until 10 loop_left "$1" "$2" || {
		echo "$1 is still in use" >&2
		return 1
	}
}

# device_reads DEVICE: prints the number of reads that its disk has served.
device_reads() {
	awk '{ print $1 }' "/sys/block/${1##*/}/stat"
}

# pages_reread: prints the number of pages that the kernel read again after it
# had reclaimed them.
pages_reread() {
	awk '/^workingset_refault(_file)? / { print $2 }' /proc/vmstat
}

# count_reads DEVICE COMMAND...: runs COMMAND, and sets $READ to the number of
# bytes read from the device's disk meanwhile. $REREAD is the number of those, at
# most, that were read again because the kernel had reclaimed its cache.
# shellcheck disable=SC2034 # READ and REREAD are for the caller
count_reads() {
	local sectors=/sys/block/${1##*/}/stat read pages
	shift
	pages=$(pages_reread)
	read=$(awk '{ print $3 }' "$sectors")
	"$@"
	READ=$((($(awk '{ print $3 }' "$sectors") - read) * 512))
	REREAD=$((($(pages_reread) - pages) * $(getconf PAGESIZE)))
}

# ask data|hole OFFSET FILE, ask extents FILE: prints the answers of lseek.
ask() {
	python3 "$LIB/ask.py" "$@"
}

# partition add DISK NUMBER START LENGTH, partition del DISK NUMBER: adds or
# removes a partition in the kernel alone, by BLKPG (linux/blkpg.h); in bytes.
partition() {
	python3 -c 'import ctypes, fcntl, os, struct, sys
op, disk, number, start, length = sys.argv[1:] + ["0", "0"][:6 - len(sys.argv)]
part = ctypes.create_string_buffer(struct.pack("@qqi128x4x",
    int(start), int(length), int(number)))
fcntl.ioctl(os.open(disk, os.O_RDONLY), 0x1269, struct.pack("@iiiP",
    {"add": 1, "del": 2}[op], 0, len(part), ctypes.addressof(part)))' "$@"
}

# make_device KIND SIZE NAME [LOSETUP-OPTION...]: makes an image $TEST_TMP/NAME,
# its truth file, and a loop device over it, $LOOP.
make_device() {
	python3 "$LIB/devices.py" make "$1" "$2" "$TEST_TMP/$3"
	loop_new "$TEST_TMP/$3" "${@:4}"
}

# dig_holes IMAGE...: makes holes of the blocks of zeros of images, so that the
# file system knows them, and waits until that change is settled.
dig_holes() {
	local image
	for image; do
		fallocate --dig-holes "$image"
	done
	wait_settled "$@"
}

# check [--granule SIZE]... STEPS FILE DEVICE IMAGE...: see check.py.
check() {
	python3 "$LIB/check.py" "$@"
}

# forget_pages DEVICE: drops the kernel's cache of it.
forget_pages() {
	blockdev --flushbufs "$1"
}

# --- Mounts ----------------------------------------------------------------

# Asks no file system, which might hang.
mounted() {
	awk -v where="$1" '$5 == where { n++ } END { exit !n }' \
		/proc/self/mountinfo
}

not_mounted() {
	! mounted "$1"
}

# Runs a command as a user without any rights.
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all \
		env HOME="$TEST_TMP" USER=nobody "$@"
}

# copy_program: copies both programs to a place where all users can run them,
# and sets $FS and $TOOL; the build tree may be inside a private folder.
copy_program() {
	local library
	mkdir -p "$TEST_TMP/copy/fuse" "$TEST_TMP/copy/tools" "$TEST_TMP/copy/src"
	cp "$FS" "$TEST_TMP/copy/fuse/"
	cp "$TOOL" "$TEST_TMP/copy/tools/"
	for library in "$(dirname "$FS")"/../src/libblksparse.so*; do
		[[ ! -f $library ]] || cp -a "$library" "$TEST_TMP/copy/src/"
	done
	chmod -R go+rX "$TEST_TMP/copy"
	FS=$TEST_TMP/copy/fuse/blksparsefs
	TOOL=$TEST_TMP/copy/tools/blksparse
}

# Ends a mount, whatever state it is in.
force_umount() {
	while mounted "$1"; do
		# -f also ends the requests of a stuck mount.
		umount -cfl "$1" 2>/dev/null || fusermount3 -uz "$1" || return 1
	done
}

# mount_fs [-o OPTIONS] [NAME=]DEVICE...: mounts them at $MNT and returns when the
# mount answers. blksparsefs runs with -f as a background job, with pid $FS_PID
# and its messages in $FS_LOG. FS_WRAP=(COMMAND...) runs it through COMMAND.
FS_WRAP=()
FS_PID=
mount_fs() {
	[[ -z $FS_PID ]] || fail "mount_fs: there is a mount already"
	FS_LOG=$TEST_TMP/fs.log
	[[ -e $MNT ]] || mkdir "$MNT"
	: >"$FS_LOG"
	"${FS_WRAP[@]}" "$FS" -f "$@" "$MNT" </dev/null >>"$FS_LOG" 2>&1 &
	FS_PID=$!
	cleanup drop_fs "$FS_PID" "$MNT"
	if ! wait_until 30 fs_up_or_gone || gone "$FS_PID"; then
		cat "$FS_LOG" >&2
		fail "blksparsefs did not mount $*"
	fi
}

fs_up_or_gone() {
	# Only the user that mounted it may look.
	gone "$FS_PID" ||
		{ mounted "$MNT" && "${FS_WRAP[@]}" stat -L "$MNT" >/dev/null; }
}

# unmount POINT: unmounts it. A program that looks at all mounts of the machine, as
# xfs_io(8) does when it starts, keeps each of them busy for a moment, so a busy one
# is tried again for some seconds, unless a process has a file there.
unmount() {
	local users tries=0
	until fusermount3 -u "$1"; do
		users=$(find /proc/[0-9]*/{fd,cwd,root} -lname "$1*" \
			-printf '%p %l\n' 2>/dev/null) || true
		[[ -z $users ]] || fail "cannot unmount $1; it is used: $users"
		((tries++ < 50)) || fail "cannot unmount $1"
		sleep 0.1
	done
}

# umount_fs: unmounts $MNT; blksparsefs must then end with status 0.
umount_fs() {
	local status=0
	[[ -n $FS_PID ]] || fail "umount_fs: nothing is mounted"
	unmount "$MNT"
	end_fs || status=$?
	if ((status != 0)); then
		cat "$FS_LOG" >&2
		fail "blksparsefs ended with status $status"
	fi
}

# end_fs: waits for blksparsefs to end and returns its status.
end_fs() {
	local pid=$FS_PID
	wait_until 30 gone_or_zombie "$pid" ||
		fail "blksparsefs (pid $pid) did not end"
	FS_PID=
	wait "$pid"
}

gone_or_zombie() {
	local stat
	# Not $(<): bash ends the script if that fails.
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
	[[ ${stat##*) } == Z* ]]
}

# Cleans up after a test that did not reach umount_fs.
drop_fs() {
	force_umount "$2" || return 1
	[[ $FS_PID == "$1" ]] || return 0
	wait_until 10 gone_or_zombie "$1" || kill -KILL "$1"
	echo "blksparsefs said:" >&2
	cat "$FS_LOG" >&2
}

# --- The private directory -------------------------------------------------

if [[ -z ${TEST_TMP:-} ]]; then
	TEST_TMP=$(mktemp -d "${TMPDIR:-/tmp}/blksparse-test.XXXXXX")
	cleanup rm -rf --one-file-system "$TEST_TMP"
fi
chmod 755 "$TEST_TMP"
export TEST_TMP
MNT=$TEST_TMP/mnt
