#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Random operations on a writable mount, compared with a shadow copy: bytes that are
# read, holes that lseek reports, and the content of the device after fsync, close
# and unmounting, over several mounts of one device. Several threads or processes
# work on the file at once: buffered, mapped, directly, by libaio and by io_uring.
# Half of the seeds are fixed, half are fresh. A failure names its seed, and
# RANDOM_SEED=N repeats it.
set -euo pipefail
# shellcheck source=random-ops.sh
. "$(dirname "$0")/random-ops.sh"
requires_fuse
requires_loop

seed=${RANDOM_SEED:-$(fresh_seed)}
say "fresh seed: $seed"

say "blocks of 512 bytes"
random_device $(((12 << 20) + 512)) 512 1
random_round 4096 "" keep --seed 1 --ops 700 --map --direct
random_round 65536 "" zero --seed "$seed" --ops 700 --map --direct
random_round 4096 zero=keep keep --seed 2 --ops 250 --threads 4 --map --direct --noise
random_round 65536 zero=write discard --seed "$seed" --ops 300 --processes 4 --map --direct --noise

say "long writes beside readers"
for i in 1 2 3 4 5 6; do
	random_round 65536 "" zero --seed $((7060 + i)) --ops 150 --longest $((4 << 20)) --map --noise
done

say "blocks of 4096 bytes"
random_device $(((12 << 20) + 4096)) 4096 2
random_round 65536 zero=write keep --seed 3 --ops 700 --map --direct
random_round 4096 "" discard --seed "$seed" --ops 700 --map --direct
random_round 65536 "" keep --seed "$seed" --ops 250 --threads 4 --direct --noise
random_round 4096 zero=keep zero --seed 4 --ops 300 --processes 4 --map --direct --noise
