#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Rounds of soak in a virtual machine, on volumes of the device mapper whose disks
# fail: all requests, or those of some seconds or of a part, or late ones; and on
# disks that are offline, have bad sectors, lose commands or answer in part.
#
# TIMEOUT: 1500 seconds
#
#   long-soak-vm.sh [SECONDS]
set -euo pipefail
. "$(dirname "$0")/../lib/common.sh"
. "$(dirname "$0")/../faults/lib.sh"
in_vm 1200
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

modprobe -a loop fuse sd_mod dm-mod dm-delay dm-flakey
requires_fuse
seconds=${1:-420}

new_disks 2 dev_size_mb=8 lbpws=1
names=(soak0 soak1)
for i in 0 1; do
	new_volume "${names[i]}" "0 $((8 * MIB / 512)) linear ${DISKS[i]} 0"
done
cat >"$TEST_TMP/faults" <<-FAULTS
	disks=(${DISKS[*]})
	names=(${names[*]})
FAULTS
cat >>"$TEST_TMP/faults" <<-'FAULTS'
	# faults on|off: has each disk fail in some way, or work.
	half=8192
	debug() {
		echo "$2" >/sys/bus/pseudo/drivers/scsi_debug/every_nth
		echo "$1" >/sys/bus/pseudo/drivers/scsi_debug/opts
	}
	load() {
		dmsetup suspend --nolockfs "$1"
		dmsetup load "$1" --table "$2"
		dmsetup resume "$1"
	}
	for i in 0 1; do
		disk=${disks[i]} state=/sys/block/${disks[i]##*/}/device/state
		kind=$((RANDOM % 8))
		[[ $1 == on ]] || kind=off
		echo running >"$state"
		# scsi_debug's, of all disks: 2 bad sectors, 0x10 errors of the
		# transport, 0x80 short transfers.
		((i)) || debug 0 0
		case $kind in
		0) echo offline >"$state" ;;
		1) load "${names[i]}" "0 $((2 * half)) error" ;;
		2) load "${names[i]}" "0 $half linear $disk 0
	$half $half error" ;;
		3) load "${names[i]}" "0 $((2 * half)) flakey $disk 0 1 1 1 error_writes" ;;
		4) load "${names[i]}" "0 $half delay $disk 0 50
	$half $half error" ;;
		5) debug 2 0 ;;
		6) debug 0x10 3 ;;
		7) debug 0x80 2 ;;
		off) load "${names[i]}" "0 $((2 * half)) linear $disk 0" ;;
		esac
	done
FAULTS
given=(--device /dev/mapper/soak0 --device /dev/mapper/soak1
	--faults "bash $TEST_TMP/faults" --hang 300)

soak "${given[@]}" --mode fault --round-seconds 20 --seconds $((seconds / 2))
for mode in write kill read; do
	soak "${given[@]}" --mode "$mode" --seconds $((seconds / 12))
done
soak --mode cut --mode fault --hang 300 --seconds $((seconds / 4))
