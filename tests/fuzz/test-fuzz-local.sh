#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Fuzzes what comes from this machine: the words of the command line
# (fuzz-options.c), sizes, URIs and lists of mounts (fuzz-texts.c), and the answers
# of sysfs, of the device mapper and of the metadata of thin pools (fuzz-layers.c).
# First it replays the inputs in corpus/. Where clang has libFuzzer, that then runs
# for FUZZ_SECONDS (default 2) on each target.
#
# To keep new inputs of a longer run:
#   FUZZ_SECONDS=600 FUZZ_KEEP=1 tests/fuzz/test-fuzz-local.sh
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
pkg-config --exists fuse3 || skip "libfuse3-dev is not installed"

fuzz=$SRC/tests/fuzz
seconds=${FUZZ_SECONDS:-2}
targets=(options texts layers)
src=$SRC/src
declare -A sources=(
	[options]="$SRC/fuse/options.c $src/device/nbd-uri.c $src/base/error.c
		$src/base/parse-size.c"
	[texts]="$src/device/nbd-uri.c $src/device/mountinfo.c $src/base/error.c
		$src/base/parse-size.c"
	[layers]="$(echo "$src"/device/{known,known-{dm,thin,names}}.c \
		"$src"/device/{thin-tree,dm,dm-table,sysfs,loop,identity}.c \
		"$src"/device/device.c "$src"/base/{error,thread}.c)"
)
mapfile -t flags < <(pkg-config --cflags glib-2.0 fuse3 | tr ' ' '\n' | grep .)
mapfile -t libs < <(pkg-config --libs glib-2.0 fuse3 | tr ' ' '\n' | grep .)
flags+=(-g -O1 -std=gnu11 -D_GNU_SOURCE -DFUSE_USE_VERSION=314
	-DPACKAGE_VERSION='"0"'
	-DBUILT_WITH='"all"' -I"$SRC/src" -I"$SRC/include" -I"$SRC/fuse"
	-fno-sanitize-recover=all)
# The functions of fuzz-layers.c in place of the kernel's and of GLib's.
wraps=()
for function in open openat faccessat fstat ioctl pread g_intern_string; do
	wraps+=("-Wl,--wrap=$function")
done

# build TARGET PROGRAM COMPILER ARG...
build() {
	local target=$1 program=$2 compiler=$3
	shift 3
	[[ $target != layers ]] || set -- "$@" "${wraps[@]}"
	# shellcheck disable=SC2086 # a list of files
	"$compiler" "${flags[@]}" -o "$program" "$fuzz/fuzz-$target.c" \
		${sources[$target]} "$@" "${libs[@]}"
}

has_fuzzer() {
	echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n);
		int LLVMFuzzerTestOneInput(const char *d, unsigned long n)
		{ return 0; }' >"$TEST_TMP/try.c"
	clang -fsanitize=fuzzer -o "$TEST_TMP/try" "$TEST_TMP/try.c" 2>/dev/null
}

# run_fuzzer TARGET ARG...: one input takes little memory, and less than a second.
run_fuzzer() {
	local target=$1
	shift
	"$TEST_TMP/$target" -max_len=2048 -timeout=10 -rss_limit_mb=1024 \
		-malloc_limit_mb=64 -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="$TEST_TMP/found-" "$@" >"$TEST_TMP/log" 2>&1 || {
		cat "$TEST_TMP/log"
		od -An -tx1 "$TEST_TMP"/found-* | head -n 100
		fail "$target: an input breaks it"
	}
}

fuzz_it() {
	local target=$1 kept=$fuzz/corpus/$1
	build "$target" "$TEST_TMP/$target" clang \
		-fsanitize=fuzzer,address,undefined
	run_fuzzer "$target" "$kept"/*
	mkdir "$TEST_TMP/new-$target"
	run_fuzzer "$target" -max_total_time="$seconds" \
		"$TEST_TMP/new-$target" "$kept"
	grep number_of_executed_units "$TEST_TMP/log"
	[[ -z ${FUZZ_KEEP:-} ]] || "$TEST_TMP/$target" -merge=1 -max_len=2048 \
		"$kept" "$TEST_TMP/new-$target" >/dev/null 2>&1
}

# Each input has a thousand variants, so some must do.
replay_it() {
	build "$1" "$TEST_TMP/$1" "${CC:-cc}" -fsanitize=address,undefined \
		"$fuzz/replay.c"
	"$TEST_TMP/$1" "$fuzz/corpus/$1"/0*
}

fuzzer=
! has_fuzzer || fuzzer=1
for target in "${targets[@]}"; do
	say "$target"
	if [[ $fuzzer ]]; then
		fuzz_it "$target"
	else
		replay_it "$target"
	fi
done
