#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Fuzzes the devices of NBD servers: the input is the server's side of the
# connections (fuzz-nbd.c). First it replays the inputs in corpus/nbd. Where clang
# has libFuzzer, that then runs for FUZZ_SECONDS (default 20).
#
# To keep new inputs of a longer run:
#   FUZZ_SECONDS=600 FUZZ_KEEP=1 tests/fuzz/test-fuzz-nbd.sh
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
pkg-config --exists libnbd || skip "libnbd-dev is not installed"

fuzz=$SRC/tests/fuzz
kept=$fuzz/corpus/nbd
seconds=${FUZZ_SECONDS:-20}
sources=("$fuzz/fuzz-nbd.c" "$SRC"/src/device/nbd{,-changes,-conn,-connect,-extents,-pool,-queue,-uri}.c
	"$SRC"/src/device/{device,zero-range,read-queue,read-queue-nouring,trace-ops}.c
	"$SRC"/src/base/{changes,error,interrupt,map,range-lock,thread,trace,zero}.c)
mapfile -t flags < <(pkg-config --cflags glib-2.0 libnbd | tr ' ' '\n' | grep .)
mapfile -t libs < <(pkg-config --libs glib-2.0 libnbd | tr ' ' '\n' | grep .)
flags+=(-g -O1 -std=gnu11 -D_GNU_SOURCE -I"$SRC/src" -I"$SRC/include"
	-fno-sanitize-recover=all)
export ASAN_OPTIONS=detect_leaks=0 TMPDIR=$TEST_TMP

# has_fuzzer: true if clang has libFuzzer.
has_fuzzer() {
	clang "${flags[@]}" -fsanitize=fuzzer,address,undefined \
		-o "$TEST_TMP/fuzz" "${sources[@]}" "${libs[@]}" \
		2>"$TEST_TMP/log"
}

# fuzz_it ARG...: one input takes little memory, and less than a second.
fuzz_it() {
	"$TEST_TMP/fuzz" -max_len=512 -timeout=30 -rss_limit_mb=1024 \
		-malloc_limit_mb=64 -print_final_stats=1 -verbosity=0 \
		-artifact_prefix="$TEST_TMP/found-" "$@" >"$TEST_TMP/log" 2>&1 || {
		cat "$TEST_TMP/log"
		od -An -tx1 "$TEST_TMP"/found-* | head -n 100
		fail "an input breaks the device"
	}
}

if has_fuzzer; then
	say "the inputs in corpus/"
	fuzz_it "$kept"/*
	say "for $seconds seconds"
	mkdir "$TEST_TMP/new"
	fuzz_it -max_total_time="$seconds" "$TEST_TMP/new" "$kept"
	grep number_of_executed_units "$TEST_TMP/log"
	[[ -z ${FUZZ_KEEP:-} ]] ||
		"$TEST_TMP/fuzz" -merge=1 -max_len=512 "$kept" "$TEST_TMP/new"
else
	say "the inputs in corpus/, and variants of them"
	"${CC:-cc}" "${flags[@]}" -fsanitize=address,undefined \
		-o "$TEST_TMP/replay" "$fuzz/replay.c" "${sources[@]}" "${libs[@]}"
	"$TEST_TMP/replay" "$kept"/*
fi
