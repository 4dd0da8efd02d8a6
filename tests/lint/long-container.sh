#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 2400
#
# packaging/Containerfile makes an image whose programs run: blksparse with the
# privileges of any container, and blksparsefs with the two that it names. Its steps
# are done here, each in a root that debootstrap(8) makes: an engine for containers is
# not needed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
requires_root
requires_fuse
requires_loop
requires debootstrap unshare setpriv apt-get

# As much as docker and podman give by default.
default=chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,mknod,audit_write,setfcap
dir=${DEBOOTSTRAP_DIR:-/var/tmp/blksparse-roots}
base=$dir/bookworm-slim
roots=$TEST_TMP/roots

if [[ -z ${IN_NAMESPACE:-} ]]; then
	IN_NAMESPACE=1 unshare -m --propagation private bash "$0"
	exit
fi

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

# stage_begin NAME: sets $root to a new root over the base, where writes go to memory.
stage_begin() {
	root=$roots/$1
	workdir=/
	mkdir -p "$root" "$roots/$1.layer"
	mount -t tmpfs none "$roots/$1.layer"
	mkdir "$roots/$1.layer"/{upper,work}
	mount -t overlay overlay "$root" -o \
		"lowerdir=$base,upperdir=$roots/$1.layer/upper,workdir=$roots/$1.layer/work" ||
		skip "needs overlayfs"
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount --rbind /sys "$root/sys"
	cp /etc/resolv.conf "$root/etc/resolv.conf"
}

# in_root COMMAND...
in_root() {
	env -i HOME=/root TERM=dumb DEBIAN_FRONTEND=noninteractive \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		chroot "$root" "$@"
}

# step WORD...: an instruction.
step() {
	local from=$SRC
	echo "STEP $*"
	case $1 in
	FROM)
		[[ $2 == docker.io/library/debian:bookworm-slim ]] ||
			fail "this test has no $2"
		stage_begin "${4:-last}"
		;;
	WORKDIR)
		workdir=$2
		mkdir -p "$root$workdir"
		;;
	COPY)
		if [[ $2 == --from=* ]]; then
			cp -a "$roots/${2#--from=}$3"/. "$root$4"
			return
		fi
		local files=("${@:2:$#-2}") to=$root$workdir/${!#} file
		mkdir -p "$(dirname "$to")"
		for file in "${files[@]}"; do
			# As COPY does: of a folder, its content.
			cp -aT "$from/$file" \
				"$([[ ${!#} == */ ]] && echo "$to$file" || echo "$to")"
		done
		;;
	RUN)
		in_root sh -euc "cd $workdir; ${*:2}" >"$TEST_TMP/log" 2>&1 || {
			tail -n 30 "$TEST_TMP/log"
			fail "it failed"
		}
		;;
	ENTRYPOINT)
		entrypoint=$2
		;;
	*) fail "this test does not know $1" ;;
	esac
}

say "the steps"
entrypoint=
while IFS= read -r line; do
	while [[ $line == *\\ ]] && IFS= read -r more; do
		line=${line%\\}$more
	done
	[[ -n $line && $line != '#'* ]] || continue
	read -ra words <<<"$line"
	step "${words[@]}"
done <"$SRC/packaging/Containerfile"
assert_eq "$entrypoint" '["blksparse"]' "the entry point"

# contained CAPABILITIES COMMAND...: runs it in the last root with these at most.
contained() {
	in_root setpriv --bounding-set="-all,+${1//,/,+}" --inh-caps=-all "${@:2}"
}

make_device mixed 8M image
say "blksparse, with the privileges of any container"
contained "$default" blksparse --version
contained "$default" blksparse map --json "$LOOP" >"$TEST_TMP/map"
assert_contains "$(<"$TEST_TMP/map")" '"hole"' "the map"
contained "$default" blksparse copy "$LOOP" /root/copy
assert_same_bytes "$root/root/copy" "$TEST_TMP/image"

say "blksparsefs needs SYS_ADMIN"
run_status contained "$default" blksparsefs "$LOOP" /mnt
assert_ne "$STATUS" 0 "status without it"
contained "$default,sys_admin" blksparsefs -o allow_other "$LOOP" /mnt
cleanup umount -l "$root/mnt"
assert_same_bytes "$root/mnt/${LOOP##*/}" "$TEST_TMP/image"
[[ -n $(sed -n 's/^.*--cap-add SYS_ADMIN.*$/x/p' "$SRC/packaging/Containerfile") ]] ||
	fail "the file does not name the capability"
