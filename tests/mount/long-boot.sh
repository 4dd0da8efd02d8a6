#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 1500
# systemd boots a virtual machine: lines of fstab and the service mount their devices,
# and a device that is missing does not stop the boot. At the shutdown, all zeros that
# are pending reach the disks, although that takes longer than the 90 seconds after
# which systemd kills.
#
# The machine has the files of this one, and udevd, which is fetched with apt-get.
set -euo pipefail

# Two disks take 1 MB a second: the zeros of pending.py need 117 seconds.
SIZE=$((128 << 20))
BYTES_A_SECOND=1000000
STOP_SECONDS=90 # of systemd; at least so long the stop must take

# --- In the machine -----------------------------------------------------------

# unit NAME: a unit of the test, from stdin.
unit() {
	cat >"/etc/systemd/system/$1"
}

# prepare FILES: before systemd starts. FILES has what is to be installed.
prepare() {
	local name
	modprobe fuse
	# This machine may be a container; that one is none.
	rm -f /.dockerenv
	# Of its own services, none starts.
	rm -rf /etc/systemd/system /etc/rc?.d
	mkdir -p /etc/systemd/system /etc/blksparsefs /srv/{ro,short,missing,all,rw}
	cp -a "$1"/. /
	cp -a /usr/local/sbin/*mount* /sbin/
	ln -sf "$1/image" /run/image
	# /tmp stays: the build may be there.
	for name in tmp.mount getty.target systemd-{tmpfiles-setup,tmpfiles-setup-dev,sysusers,firstboot,timesyncd,logind}.service; do
		ln -s /dev/null "/etc/systemd/system/$name"
	done

	cat >/etc/fstab <<-'FSTAB'
		/dev/vda /srv/ro fuse.blksparsefs ro,nofail,allow_other,name=disk 0 0
		/dev/vda /srv/short blksparsefs ro,nofail,name=disk 0 0
		/dev/disk/by-id/virtio-missing /srv/missing fuse.blksparsefs ro,nofail,x-systemd.device-timeout=5s 0 0
		all /srv/all fuse.blksparsefs ro,all,nofail 0 0
		/dev/disk/by-id/virtio-d2 /srv/rw fuse.blksparsefs rw,nofail,name=disk,zero=write,uhelper=fuse.blksparsefs,x-systemd.mount-timeout=infinity 0 0
	FSTAB
	# This one is seen late: udev makes its link when the boot goes on already.
	mkdir -p /etc/udev/rules.d
	echo 'KERNEL=="vdb", PROGRAM="/bin/sleep 60"' >/etc/udev/rules.d/10-late.rules
	cat >/etc/blksparsefs/disks.conf <<-'CONF'
		DEVICES=slow=/dev/disk/by-id/virtio-d1
		MOUNTPOINT=/srv/disks
		OPTIONS=rw,zero=write
	CONF
	systemctl enable blksparsefs@disks
	mkdir "/etc/systemd/system/blksparsefs@disks.service.d"
	unit blksparsefs@disks.service.d/end.conf <<-'UNIT'
		[Unit]
		RequiresMountsFor=/run/share
		[Service]
		ExecStopPost=bash -c 'echo "$SERVICE_RESULT $EXIT_CODE $EXIT_STATUS" >/run/share/service-end'
	UNIT
	unit writer.service <<-UNIT
		[Unit]
		Requires=blksparsefs@disks.service
		After=blksparsefs@disks.service
		RequiresMountsFor=/srv/disks /srv/rw
		[Service]
		Type=notify
		ExecStart=python3 $SRC/tests/mount/pending.py /srv/disks/slow /srv/rw/disk
	UNIT
	# The stop comes in the reverse order: this unit stops after the mounts.
	unit stopped.service <<-UNIT
		[Unit]
		DefaultDependencies=no
		RequiresMountsFor=/run/share
		Before=srv-ro.mount srv-short.mount srv-all.mount srv-rw.mount srv-disks.mount blksparsefs@disks.service
		Before=shutdown.target
		Conflicts=shutdown.target
		[Service]
		Type=oneshot
		RemainAfterExit=yes
		ExecStart=true
		TimeoutStopSec=infinity
		Environment=SRC=$SRC BUILD=$BUILD LIB=$LIB FS=$FS TEST_TMP=/run/boot-test
		ExecStop=bash $(realpath "$0") stopped
		[Install]
		WantedBy=local-fs.target
	UNIT
	unit booted.service <<-UNIT
		[Unit]
		After=blksparsefs@disks.service
		SuccessAction=poweroff
		FailureAction=poweroff
		[Service]
		Type=oneshot
		TimeoutStartSec=infinity
		StandardOutput=file:/dev/ttyS1
		StandardError=file:/dev/ttyS1
		Environment=SRC=$SRC BUILD=$BUILD LIB=$LIB FS=$FS TEST_TMP=/run/boot-test
		ExecStart=bash -c 'status=0; bash $(realpath "$0") booted || status=\$\$?; echo \$\$status >/run/job/status'
		[Install]
		WantedBy=multi-user.target
	UNIT
	systemctl enable booted stopped
	mkdir /run/boot-test
}

# nothing_waits: no device or mount is waited for any more.
nothing_waits() {
	local jobs
	jobs=$(systemctl list-jobs --no-legend) && ! grep -q -e ' dev-' -e ' srv-' <<<"$jobs"
}

# booted: runs as a service, as soon as that of blksparsefs is ready.
booted() {
	local where
	assert_eq "$(stat -c %s /srv/disks/slow)" "$SIZE" "size of the service's file"
	assert_eq "$(systemctl show -P Type -P ActiveState -P SubState blksparsefs@disks |
		paste -sd' ')" "notify active running" "state of the service"
	assert_eq "$(ps -o comm= -p "$(systemctl show -P MainPID blksparsefs@disks)")" \
		blksparsefs "its main process"
	for where in ro short all rw; do
		wait_until 120 mountpoint -q "/srv/$where" ||
			fail "/srv/$where is not mounted: $(systemctl status "srv-$where.mount")"
	done
	cmp /srv/ro/disk /run/image
	assert_contains "$("$TOOL" map /srv/ro/disk)" hole "the map"
	cmp /srv/short/disk /run/image
	cmp /srv/all/vda /run/image
	wait_until 60 nothing_waits || fail "jobs wait: $(systemctl list-jobs)"
	not_mounted /srv/missing || fail "a device that is missing is mounted"
	assert_eq "$(systemctl show -P ActiveState srv-missing.mount)" inactive \
		"the mount of a missing device"
	run_status findmnt --verify
	assert_eq "$STATUS" 0 "status of findmnt --verify: $OUT$ERR"
	systemctl start writer
	assert_eq "$(systemctl --failed --plain --no-legend)" "" "failed units"
	echo "booted in $(cut -d' ' -f1 /proc/uptime) seconds of the machine"
	cut -d. -f1 /proc/uptime >/run/share/begin
}

# stopped: runs during the shutdown, when the mounts have been stopped.
stopped() {
	cut -d. -f1 /proc/uptime >/run/share/end
	pgrep -a -f 'blksparsefs.* /srv/(rw|disks)' >/run/share/left || true # none
	# The machine itself, not systemd, mounts the kernel's modules.
	systemctl --failed --plain --no-legend | sed '/^usr-lib-modules/d' >/run/share/failed
	journalctl -b -o short-monotonic >/run/share/journal
}

# --- On this machine ----------------------------------------------------------

. "$(dirname "$0")/../lib/common.sh"
case ${1:-} in
prepare | booted | stopped)
	"$@"
	exit
	;;
esac
requires_root
requires_fuse
requires systemctl qemu-system-x86_64 busybox cpio modprobe apt-get dpkg meson python3 \
	findmnt pgrep ps
[[ -x /lib/systemd/systemd ]] || skip "systemd is not installed"

say "the files to install there"
mkdir "$TEST_TMP/files" "$TEST_TMP/deb" "$TEST_TMP/share"
(cd "$TEST_TMP/deb" && apt-get -q -o "APT::Sandbox::User=$(id -un)" download udev) ||
	skip "apt-get cannot fetch udev"
dpkg -x "$TEST_TMP"/deb/udev*.deb "$TEST_TMP/files"
# The folders of the root may be links to those of /usr here.
for folder in bin lib sbin; do
	[[ -L /$folder && -d $TEST_TMP/files/$folder ]] || continue
	mkdir -p "$TEST_TMP/files/usr/$folder"
	cp -a "$TEST_TMP/files/$folder/." "$TEST_TMP/files/usr/$folder/"
	rm -rf "${TEST_TMP:?}/files/$folder"
done
DESTDIR=$TEST_TMP/files meson install -C "$BUILD" --no-rebuild >/dev/null
python3 "$LIB/devices.py" make mixed 16M "$TEST_TMP/files/image"
for disk in b c; do
	head -c "$SIZE" /dev/zero | tr '\0' '\252' >"$TEST_TMP/$disk"
done

say "boot and shutdown"
status=0
VM_SHARE=$TEST_TMP/share VM_DRIVE=throttling.bps-write=$BYTES_A_SECOND \
	"$LIB/vm" -t 1200 -d "$TEST_TMP/files/image" -d "$TEST_TMP/b" -d "$TEST_TMP/c" \
	-s multi-user.target bash "$(realpath "$0")" prepare "$TEST_TMP/files" ||
	status=$?
if [[ -e $TEST_TMP/share/journal ]]; then
	grep -e srv- -e blksparsefs -e writer -e umount "$TEST_TMP/share/journal"
fi
((status == 0)) || fail "status $status of the machine"

say "the disks"
python3 "$(dirname "$0")/pending.py" expect "$TEST_TMP/expected" "$SIZE"
assert_same_bytes "$TEST_TMP/b" "$TEST_TMP/expected"
assert_same_bytes "$TEST_TMP/c" "$TEST_TMP/expected"

say "the stop"
assert_eq "$(<"$TEST_TMP/share/service-end")" "success exited 0" "end of the service"
assert_eq "$(<"$TEST_TMP/share/left")" "" "processes after the stop"
assert_eq "$(<"$TEST_TMP/share/failed")" "" "failed units"
took=$(($(<"$TEST_TMP/share/end") - $(<"$TEST_TMP/share/begin")))
assert_ge "$took" "$STOP_SECONDS" "seconds of the stop"
