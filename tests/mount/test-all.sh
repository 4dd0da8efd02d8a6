#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blksparsefs --all: every block device by its name, with folders of links, while
# devices come and go. No device is opened before its file is, and none stays open
# after it. Other devices of the machine may come and go as well.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_loop
requires python3 unshare

# The links of /dev are those that this test makes, in a mount namespace of its own.
if [[ -z ${IN_NAMESPACE:-} ]]; then
	IN_NAMESPACE=1 unshare -m --propagation private bash "$0"
	exit
fi

make_device mixed 16M image
name=${LOOP##*/}
device=$LOOP
loop_new "$TEST_TMP/image" -r -o 4M --sizelimit 4M
part=${LOOP##*/}
dig_holes "$TEST_TMP/image"

if [[ ! -d /dev/disk ]]; then
	mkdir /dev/disk
	cleanup rmdir /dev/disk
fi
mount -t tmpfs none /dev/disk
cleanup umount /dev/disk
mkdir /dev/disk/by-id /dev/disk/by-label
ln -s "../../$name" "/dev/disk/by-id/test-disk"
ln -s "../../$name-none" "/dev/disk/by-id/test-broken"
ln -s "../../$part" "/dev/disk/by-label/a\\x20label"

# opens NAME: how many of the driver's descriptors are a node of the device.
opens() {
	find "/proc/$FS_PID/fd" -lname "/dev/$1" | wc -l
}

lists() {
	[[ -e $MNT/$1 && -n $(find "$MNT" -maxdepth 1 -name "$1") ]]
}

lists_not() {
	[[ ! -e $MNT/$1 && -z $(find "$MNT" -maxdepth 1 -name "$1") ]]
}

say "names, attributes and links, without an open device"
mount_fs --all
assert_eq "$(findmnt -n -o FSTYPE,SOURCE "$MNT" | tr -s ' ')" \
	"fuse.blksparsefs all" "findmnt"
lists "$name" || fail "$name is not listed"
assert_eq "$(stat -c %s "$MNT/$name")" $((16 << 20)) "size"
assert_eq "$(stat -c %s "$MNT/$part")" $((4 << 20)) "size of the other"
assert_eq "$(stat -c %a:%u:%g "$MNT/$name")" \
	"$(printf '%o' $((0$(stat -c %a "$device") & 0666))):$(stat -c %u:%g "$device")" \
	"mode and owner"
assert_eq "$(stat -c %i "$MNT/$name")" "$(stat -c %i "$MNT/$name")" "the inode"
# shellcheck disable=SC2012 # by inode
assert_eq "$(ls -i "$MNT" | awk -v n="$name" '$2 == n { print $1 }')" \
	"$(stat -c %i "$MNT/$name")" "the inode in the listing"
assert_ge $(((16 << 20) / 512 - 1)) "$(stat -c %b "$MNT/$name")" "blocks"
assert_eq "$(readlink "$MNT/by-id/test-disk")" "../$name" "a link"
assert_eq "$(ls "$MNT/by-id")" "test-disk" "links by id"
assert_eq "$(readlink "$MNT/by-label/a\\x20label")" "../$part" "a label"
assert_eq "$(ls "$MNT/by-uuid")" "" "a folder that /dev does not have"
[[ ! -e $MNT/by-id/test-broken ]] || fail "a link to nothing is shown"
run_status cat "$MNT/none"
assert_contains "$ERR" "No such file" "a name that is none"
run_status touch "$MNT/new"
assert_contains "$ERR" "Read-only" "a new file"
find "$MNT" -printf '%p %s %t %l\n' >"$TEST_TMP/found"
assert_contains "$(<"$TEST_TMP/found")" "$MNT/$name " "find"
assert_eq "$(opens "loop*")" 0 "descriptors of loop devices"

say "blksparse stat, with no open file"
run_status "$TOOL" stat "$MNT"
assert_eq "$STATUS" 0 "status"
assert_eq "$OUT" "$MNT
  no file is open" "the list"
assert_contains "$("$TOOL" stat --format=prometheus "$MNT")" \
	"blksparsefs_up{mount=\"$MNT\"} 1" "Prometheus"
run_status "$TOOL" stat
assert_contains "$OUT" "$MNT " "the table"
run_status "$TOOL" stat "$MNT/$name"
assert_eq "$STATUS" 1 "status for a file"
assert_contains "$ERR" "$MNT/$name: not open" "message for a file"

say "content, by the name and a link"
check fresh,walk,known,bytes "$MNT/$name" "$device" "$TEST_TMP/image"
cmp "$MNT/by-id/test-disk" "$device"
cmp "$MNT/by-label/a\\x20label" "/dev/$part"
assert_eq "$(opens "$name")" 0 "descriptors after the last close"
exec 3<"$MNT/$name"
assert_ge "$(opens "$name")" 1 "descriptors while it is open"
assert_contains "$("$TOOL" stat "$MNT")" "$name" "stat with an open file"
assert_eq "$(opens "$part")" 0 "descriptors of the others"
kill -USR1 "$FS_PID"
logged() {
	grep -q "$name: size=16777216" "$FS_LOG"
}
wait_until 10 logged || fail "SIGUSR1 logs no figures"

say "a device that goes while its file is open, and another of its name"
inode=$(stat -c %i "$MNT/$name")
losetup -d "$device"
# The kernel detaches it when the last program has closed it.
cmp -n 65536 /dev/fd/3 "$TEST_TMP/image"
exec 3<&-
wait_until 10 loop_left "$device" "$TEST_TMP/image" || fail "it is kept open"
wait_until 10 lists_not "$name" || fail "$name is still listed"
[[ ! -e $MNT/by-id/test-disk ]] || fail "a link to a device that went"
truncate -s 1M "$TEST_TMP/second"
printf second | dd of="$TEST_TMP/second" conv=notrunc status=none
if losetup "$device" "$TEST_TMP/second" 2>/dev/null; then
	cleanup loop_free_of "$device" "$TEST_TMP/second"
	wait_until 10 lists "$name" || fail "$name did not come back"
	assert_ne "$(stat -c %i "$MNT/$name")" "$inode" "the inode of another device"
	assert_eq "$(stat -c %s "$MNT/$name")" $((1 << 20)) "its size"
	cmp "$MNT/$name" "$TEST_TMP/second"
	cmp "$MNT/by-id/test-disk" "$TEST_TMP/second"
	# Any program may write to the file of a loop device: the time moves.
	before=$(stat -c %Y%y "$MNT/$name")
	moved() {
		[[ $(stat -c %Y%y "$MNT/$name") != "$before" ]]
	}
	wait_until 5 moved || fail "the time of a loop device stands still"
fi

say "a listing is of one moment"
python3 - "$MNT" "/dev/$part" <<'PY'
import os, sys
mnt, part = sys.argv[1:]
names = []
with os.scandir(mnt) as entries:
    first = next(entries)
    names.append(first.name)
    names += [entry.name for entry in entries]
assert len(names) == len(set(names)), names
assert os.path.basename(part) in names, names
PY

say "what lies on the mount itself is left out"
losetup -r -f --show "$MNT/$part" >"$TEST_TMP/upper"
upper=$(<"$TEST_TMP/upper")
cleanup loop_free_of "$upper" "$MNT/$part"
assert_eq "$(<"/sys/class/block/${upper##*/}/size")" \
	8192 "sectors of the loop device above"
lists_not "${upper##*/}" || fail "a loop device over a file of the mount is shown"
lists "$part" || fail "the one below it is not shown"
# Nor a loop device over that, or over a file of a file system on it.
losetup -r -f --show "$upper" >"$TEST_TMP/top"
top=$(<"$TEST_TMP/top")
cleanup loop_free_of "$top" "$upper"
lists_not "${top##*/}" || fail "a loop device over that is shown"
loop_free_of "$top" "$upper"
loop_free_of "$upper" "$MNT/$part"
umount_fs

say "--match, and -o all as mount(8) gives it"
mount_fs -o all,ro "--match=$part" --match='no*such' table
assert_eq "$(find "$MNT" -maxdepth 1 -type f -printf '%f\n')" "$part" "files"
assert_eq "$(findmnt -n -o SOURCE "$MNT")" "table" "the source"
assert_eq "$(ls "$MNT/by-id")" "" "links to devices that are left out"
assert_eq "$(ls "$MNT/by-label")" "a\\x20label" "links to one that is shown"
cmp "$MNT/$part" "/dev/$part"
umount_fs

say "a mount that ends while a file and a folder are open"
# libfuse does not free the mount point's name unless it unmounts itself.
echo "leak:fuse_session_mount" >"$TEST_TMP/leaks"
export LSAN_OPTIONS=suppressions=$TEST_TMP/leaks:print_suppressions=0
# With AddressSanitizer, too: memory that is lost ends the program with an error.
fs=$FS
for FS in "$fs" "${BUILD_ASAN:-$SRC/build-asan}/fuse/blksparsefs"; do
	[[ -x $FS ]] || continue
	mount_fs --all "--match=$part"
	exec 3<"$MNT/$part" 4<"$MNT"
	kill "$FS_PID"
	end_fs || fail "$FS did not end with status 0: $(<"$FS_LOG")"
	exec 3<&- 4<&-
	not_mounted "$MNT" || fail "it is still mounted"
done
FS=$fs

say "only devices that the user may read"
if command -v setpriv >/dev/null; then
	# udev gives all users access to /dev/fuse; without udev the test has to.
	if [[ $(stat -c %a /dev/fuse) != *6 ]]; then
		cleanup chmod "$(stat -c %a /dev/fuse)" /dev/fuse
		chmod 666 /dev/fuse
	fi
	mkdir "$TEST_TMP/user"
	chown 65534 "$TEST_TMP/user"
	chown nobody "/dev/$part"
	cleanup chown root "/dev/$part"
	copy_program
	as_nobody "$FS" --all "$TEST_TMP/user"
	cleanup force_umount "$TEST_TMP/user"
	assert_eq "$(as_nobody find "$TEST_TMP/user" -maxdepth 1 -type f -printf '%f\n')" \
		"$part" "files of a user"
	as_nobody cmp "$TEST_TMP/user/$part" "/dev/$part"
	umount "$TEST_TMP/user"
fi

say "readers and listings, while devices come and go"
cat >"$TEST_TMP/churn.py" <<'PY'
"""churn.py MOUNT STEADY IMAGE DEVICE: readers of a file that stays, and of one whose
device comes and goes. Each read gives the right bytes, or an error."""
import os, subprocess, sys, threading
mnt, steady, image, device = sys.argv[1:]
name = os.path.basename(device)
with open(image, "rb") as file:
    content = file.read()
faults, doubts = [], []
taken = []  # another program has the device, and its bytes


def read(path, may_fail, want):
    for _ in range(60):
        try:
            with open(path, "rb") as file:
                os.fstat(file.fileno())
                got = file.read(1 << 20)
            if got != want[:len(got)] or (not may_fail and len(got) < 1 << 20):
                (doubts if may_fail else faults).append(f"{path}: wrong bytes")
        except OSError as error:
            if not may_fail:
                faults.append(f"{path}: {error}")


def look():
    for _ in range(150):
        for entry in os.scandir(mnt):
            try:
                entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                pass


def churn():
    for _ in range(25):
        if subprocess.run(["losetup", "-r", device, image], stderr=subprocess.DEVNULL).returncode:
            taken.append(device)
            return
        subprocess.run(["losetup", "-d", device], check=True)


work = [(read, (f"{mnt}/{steady}", False, content[4 << 20:8 << 20]))] * 2
work += [(read, (f"{mnt}/{name}", True, content))] * 2
work += [(look, ())] * 2 + [(churn, ())]
threads = [threading.Thread(target=fn, args=args) for fn, args in work]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("\n".join(faults + (doubts if not taken else [])) or 0)
PY
mount_fs --all
# A number that is free: this test alone uses the device for a moment.
spare=$(losetup -f)
python3 "$TEST_TMP/churn.py" "$MNT" "$part" "$TEST_TMP/image" "$spare" ||
	fail "a reader got something wrong"
umount_fs
assert_lacks "$(<"$FS_LOG")" "ThreadSanitizer" "the log"
loop_free_of "$spare" "$TEST_TMP/image"

say "what is refused"
refused() {
	run_status "$FS" "${@:2}"
	assert_eq "$STATUS" 2 "status of ${*:2}"
	assert_contains "$ERR" "$1" "message of ${*:2}"
}
refused "--all is read-only" --all -o rw "$MNT"
refused "--all is read-only" -o rw,all none "$MNT"
refused "--all takes the mount point alone" --all "/dev/$part" "$MNT"
refused "--all takes the mount point alone" --all a b "$MNT"
refused "the mount point is missing" --all
refused "match=x is for --all" --match=x "/dev/$part" "$MNT"
touch "$TEST_TMP/file"
refused "--all needs a directory" --all "$TEST_TMP/file"
