#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 2400
#
# packaging/Containerfile makes an image whose programs run as it says: blksparse with
# no privileges but its devices, and blksparsefs with two more. podman builds and runs
# it; the image that it starts from is one that debootstrap(8) makes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires_root
requires_fuse
requires_loop
requires debootstrap podman apt-get

dir=${DEBOOTSTRAP_DIR:-/var/tmp/blksparse-roots}
base=$dir/bookworm-slim

if [[ ! -e $base/etc/blksparse-ready ]]; then
	say "a root like debian:bookworm-slim"
	mkdir -p "$dir"
	rm -rf --one-file-system "$base"
	# shellcheck disable=SC2016 # apt-get expands it
	mirror=${MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Label: Debian' \
		'Created-By: Packages' 2>/dev/null | grep -v security | head -n 1)}
	env -u DEBOOTSTRAP_DIR debootstrap --variant=minbase \
		--include=ca-certificates bookworm "$base" "$mirror" \
		>"$TEST_TMP/log" 2>&1 || {
		tail -n 5 "$TEST_TMP/log"
		skip "debootstrap cannot fetch bookworm"
	}
	for file in /etc/apt/apt.conf.d/*; do
		[[ ! -e $file ]] || dpkg -S "$file" >/dev/null 2>&1 ||
			cp "$file" "$base/etc/apt/apt.conf.d/"
	done
	touch "$base/etc/blksparse-ready"
fi

# Nothing of podman stays after the test.
engine=(podman --root "$TEST_TMP/store" --runroot "$TEST_TMP/run"
	--cgroup-manager cgroupfs --log-level error)
! command -v runc >/dev/null || engine+=(--runtime runc)
drop_images() {
	"${engine[@]}" rmi --all --force >/dev/null
}
cleanup drop_images

say "the image is built"
tar -C "$base" --one-file-system -c . |
	"${engine[@]}" import -q - docker.io/library/debian:bookworm-slim
"${engine[@]}" build -q --pull=never --network=host --isolation=chroot \
	-t blksparse -f "$SRC/packaging/Containerfile" "$SRC" >"$TEST_TMP/log" 2>&1 || {
	tail -n 30 "$TEST_TMP/log"
	fail "it is not built"
}

# contained OPTION...: runs a container of the image. There is no network here, and
# podman's own limits may be above those of this machine.
contained() {
	"${engine[@]}" run --rm --network=none --ulimit nofile=1024:1024 \
		--ulimit nproc=1024:1024 "$@"
}

make_device mixed 8M image
mkdir "$TEST_TMP/out" "$TEST_TMP/mounts"

say "blksparse has only the devices that it is given"
contained blksparse --version
contained --device "$LOOP:$LOOP:r" blksparse map --format=qemu "$LOOP" \
	>"$TEST_TMP/map"
"$TOOL" map --format=qemu "$LOOP" >"$TEST_TMP/map.here"
assert_same_bytes "$TEST_TMP/map" "$TEST_TMP/map.here"
contained --device "$LOOP:$LOOP:r" -v "$TEST_TMP/out:/out" blksparse copy \
	"$LOOP" /out/disk.img
assert_same_bytes "$TEST_TMP/out/disk.img" "$TEST_TMP/image"
run_status contained --device "$LOOP:$LOOP:r" -v "$TEST_TMP/out:/out" blksparse copy \
	/out/disk.img "$LOOP"
assert_eq "$STATUS" 1 "status of a copy to a device that it may only read"
assert_same_bytes "$LOOP" "$TEST_TMP/image"

# The recipe of the file, with this test's device and folder.
recipe=$(sed -n '/^# *podman run --rm --device \/dev\/fuse/,/^[^#]/s/^# *//p' \
	"$SRC/packaging/Containerfile")
recipe=${recipe//$'\\\n'/ }
recipe=${recipe//\/dev\/sdb/$LOOP}
recipe=${recipe//\/srv\/disks/$TEST_TMP\/mounts}
recipe=${recipe#podman run --rm}
read -ra words <<<"$recipe"
assert_contains "$recipe" "--cap-add SYS_ADMIN" "the recipe"

say "blksparsefs needs SYS_ADMIN"
without=("${words[@]}")
for i in "${!without[@]}"; do
	[[ ${without[i]} != SYS_ADMIN ]] || without[i]=CHOWN
done
run_status contained "${without[@]}"
assert_ne "$STATUS" 0 "status without it"

say "this machine sees the files"
mount --bind "$TEST_TMP/mounts" "$TEST_TMP/mounts"
cleanup umount -l "$TEST_TMP/mounts"
mount --make-rshared "$TEST_TMP/mounts"
contained --name mounted "${words[@]}" >"$TEST_TMP/log" 2>&1 &
container=$!
shows() {
	[[ -e $TEST_TMP/mounts/${LOOP##*/} ]] || gone "$container"
}
wait_until 60 shows || fail "nothing is mounted"
assert_same_bytes "$TEST_TMP/mounts/${LOOP##*/}" "$TEST_TMP/image"
"${engine[@]}" stop mounted >/dev/null
wait "$container" || fail "blksparsefs ended with status $?: $(<"$TEST_TMP/log")"
