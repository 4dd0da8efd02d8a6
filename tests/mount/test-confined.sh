#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# blksparsefs where it has little: with no_new_privs, in a user namespace, in a
# container, and with the capabilities of its service. It mounts, or a message tells
# the way.
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
requires_fuse
requires_root
requires setpriv unshare chroot mknod

head -c 3M /dev/urandom >"$TEST_TMP/truth"
truncate -s 8M "$TEST_TMP/truth"
cp "$TEST_TMP/truth" "$TEST_TMP/image"
mkdir -m 700 "$TEST_TMP/private"
cp "$TEST_TMP/truth" "$TEST_TMP/private/image"
mkdir "$MNT" "$TEST_TMP/private/mnt"
chown -R 65534:65534 "$TEST_TMP/private"
chown 65534:65534 "$MNT"

# Runs inside a namespace: mounts an image, compares the file, prints the
# capabilities of the program, and unmounts.
cat >"$TEST_TMP/use" <<'BASH'
set -eu
"$1" -f "x=$2" "$3" &
pid=$!
trap 'kill "$pid" && wait "$pid" || true' EXIT
until [[ -e $3/x ]]; do
	kill -0 "$pid"
	sleep 0.05
done
cmp "$3/x" "$4" >&2
awk '/^Cap(Prm|Eff|Bnd):|^NoNewPrivs:/ { print $1, $2 }' "/proc/$pid/status"
kill "$pid"
wait "$pid"
trap - EXIT
[[ ! -e $3/x ]]
BASH

# used COMMAND...: runs the script above through it, which must succeed.
used() {
	run_status "$@" bash "$TEST_TMP/use" "$FS" "$IMAGE" "$WHERE" \
		"$TEST_TMP/truth"
	assert_eq "$STATUS" 0 "status of $*"
}

# assert_power NAME MASK
assert_power() {
	local found
	found=$(awk -v name="$1:" '$1 == name { print $2 }' <<<"$OUT")
	assert_eq "$((16#$found))" "$2" "$1"
}

# refused PART COMMAND...: mounting through it fails with this message.
refused() {
	local part=$1
	shift
	run_status "$@" timeout 20 "$FS" -f "x=$IMAGE" "$WHERE"
	assert_eq "$STATUS" 1 "status of $*"
	assert_contains "$ERR" "$part" "its message"
	not_mounted "$WHERE" || fail "it is mounted"
}

needed=$((1 << 2 | 1 << 21)) # CAP_DAC_READ_SEARCH and CAP_SYS_ADMIN
capng=
[[ $(ldd "$FS") != *libcap-ng* ]] || capng=1

say "no_new_privs, root"
IMAGE=$TEST_TMP/private/image WHERE=$TEST_TMP/private/mnt
used setpriv --no-new-privs
assert_power NoNewPrivs 1

say "with the capabilities of the service"
unit=$BUILD/fuse/blksparsefs@.service
bounds=$(sed -n 's/^CapabilityBoundingSet=//p' "$unit" | tr 'A-Z ' 'a-z,' |
	sed 's/cap_/+/g')
assert_contains "$bounds" "+sys_admin" "the unit's capabilities"
used setpriv --no-new-privs --bounding-set "-all,$bounds"
if [[ $capng ]]; then
	assert_power CapPrm "$needed"
	assert_power CapBnd "$needed"
fi

say "root without CAP_SYS_ADMIN"
refused "root has no CAP_SYS_ADMIN here" setpriv --no-new-privs \
	--bounding-set -sys_admin

# --- Users -----------------------------------------------------------------

copy_program
nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all
	env "HOME=$TEST_TMP")
IMAGE=$TEST_TMP/image WHERE=$MNT
mknod -m 666 "$TEST_TMP/fuse666" c 10 229
mknod -m 600 "$TEST_TMP/fuse600" c 10 229
mkdir "$TEST_TMP/dev"

# in_place FILE OF COMMAND...: with FILE mounted in the place of OF.
# shellcheck disable=SC2016 # for the other shell
in_place=(unshare -m --propagation private bash -c
	'mount --bind "$1" "$2" && shift 2 && exec "$@"' bash)

# without_node COMMAND...: where there is no /dev/fuse.
without_node() {
	# shellcheck disable=SC2016 # for the other shell
	unshare -m --propagation private bash -c 'mount -t tmpfs none "$1"
		cp -a /dev/null /dev/urandom "$1" && ln -s /proc/self/fd "$1/"
		mount --move "$1" /dev && shift && exec "$@"' bash \
		"$TEST_TMP/dev" "$@"
}

say "a user"
used "${in_place[@]}" "$TEST_TMP/fuse666" /dev/fuse "${nobody[@]}"
assert_power CapPrm 0

say "a user who may not use /dev/fuse"
refused "this user may not use /dev/fuse; have root run chmod 666 /dev/fuse" \
	"${in_place[@]}" "$TEST_TMP/fuse600" /dev/fuse "${nobody[@]}"

say "without /dev/fuse"
refused "there is no /dev/fuse; load the module" without_node
refused "there is no /dev/fuse; load the module" without_node "${nobody[@]}"

say "a user with no_new_privs"
refused "no_new_privs is set" "${in_place[@]}" "$TEST_TMP/fuse666" /dev/fuse \
	"${nobody[@]}" setpriv --no-new-privs

say "a user whose fusermount3 is not setuid"
helper=$(command -v fusermount3)
cp "$helper" "$TEST_TMP/fusermount3"
chmod 755 "$TEST_TMP/fusermount3"
refused "fusermount3 is not setuid root" "${in_place[@]}" "$TEST_TMP/fuse666" \
	/dev/fuse "${in_place[@]}" "$TEST_TMP/fusermount3" "$helper" "${nobody[@]}"

# --- Namespaces ------------------------------------------------------------

run_status "${nobody[@]}" unshare -Urm true
((STATUS == 0)) || skip "users may not make user namespaces here"

say "root of a user namespace"
used "${in_place[@]}" "$TEST_TMP/fuse666" /dev/fuse "${nobody[@]}" unshare -Urm
[[ ! $capng ]] || assert_power CapPrm "$needed"
refused "root of a user namespace mounts only in a mount namespace of its own" \
	"${in_place[@]}" "$TEST_TMP/fuse666" /dev/fuse "${nobody[@]}" unshare -Ur

say "a container"
# Its root has the programs of this machine, and no other user.
root=$TEST_TMP/root
mkdir -p "$root"/{dev,proc,tmp,work}
cat >"$TEST_TMP/enter" <<'BASH'
set -eu
root=$1
shift
mount -t tmpfs -o mode=755 none "$root/dev"
for node in null zero urandom fuse; do
	touch "$root/dev/$node"
	mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s /proc/self/fd "$root/dev/fd"
for folder in /usr /etc "$TEST_TMP"; do
	mkdir -p "$root$folder"
	mount --rbind "$folder" "$root$folder"
done
for link in bin lib lib64 sbin; do
	[[ ! -L /$link || -e $root/$link ]] || cp -P "/$link" "$root/"
done
mount -t proc none "$root/proc"
exec chroot "$root" "$@"
BASH
# in_container COMMAND...: as its root, user nobody outside.
in_container() {
	"${in_place[@]}" "$TEST_TMP/fuse666" /dev/fuse "${nobody[@]}" env TEST_TMP="$TEST_TMP" \
		unshare -Urm --pid --fork --ipc --uts --net --cgroup \
		bash "$TEST_TMP/enter" "$root" "$@"
}
chown -R 65534:65534 "$root"
used in_container
[[ ! $capng ]] || assert_power CapPrm "$needed"
