#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Fuzzes the decoders of streams and of digest files, and the reader of lists of
# changes. First it replays the inputs in corpus/ and variants of them. Where clang has libFuzzer, that then runs for FUZZ_SECONDS (default
# 20) on each format.
#
# To keep new inputs of a longer run:
#   FUZZ_SECONDS=600 FUZZ_KEEP=1 tests/fuzz/test-fuzz.sh
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"

fuzz=$SRC/tests/fuzz
seconds=${FUZZ_SECONDS:-20}
sources=("$fuzz/fuzz-stream.c" "$SRC"/src/stream/stream.c
	"$SRC"/src/stream/{digest,native,native-sum,rbd,raw}.c
	"$SRC"/src/base/{sha256,zero}.c)
mapfile -t flags < <(pkg-config --cflags glib-2.0 | tr ' ' '\n' | grep .)
change_sources=("$fuzz/fuzz-changes.c" "$SRC/src/stream/change-map.c")
libs=(-lxxhash -lgcrypt)
formats=(native rbd-diff raw digest changes)
flags+=(-g -O1 -std=gnu11 -D_GNU_SOURCE -I"$SRC/src" -I"$SRC/include"
	-fno-sanitize-recover=all)
export ASAN_OPTIONS=detect_leaks=0

# has_fuzzer: true if clang has libFuzzer.
has_fuzzer() {
	echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n);
		int LLVMFuzzerTestOneInput(const char *d, unsigned long n)
		{ return 0; }' >"$TEST_TMP/try.c"
	clang -fsanitize=fuzzer -o "$TEST_TMP/try" "$TEST_TMP/try.c" 2>/dev/null
}

# take_sources FORMAT: sets $SOURCES.
take_sources() {
	SOURCES=("${sources[@]}")
	[[ $1 != changes ]] || SOURCES=("${change_sources[@]}")
}

# fuzz_it FORMAT
fuzz_it() {
	local format=$1 kept=$fuzz/corpus/$1 new=$TEST_TMP/new-$1
	take_sources "$1"
	clang "${flags[@]}" -fsanitize=fuzzer,address,undefined \
		-DFORMAT_"${format/-/_}" -o "$TEST_TMP/$format" \
		"${SOURCES[@]}" "${libs[@]}"
	mkdir -p "$new"
	# One input takes little memory and far less than a second.
	"$TEST_TMP/$format" -max_total_time="$seconds" -max_len=4096 \
		-timeout=10 -rss_limit_mb=512 -malloc_limit_mb=64 \
		-print_final_stats=1 -verbosity=0 \
		-artifact_prefix="$TEST_TMP/found-" "$new" "$kept" \
		>"$TEST_TMP/log" 2>&1 || {
		cat "$TEST_TMP/log"
		od -An -tx1 "$TEST_TMP"/found-* | head -n 100
		fail "$format: an input breaks the decoder"
	}
	grep number_of_executed_units "$TEST_TMP/log"
	if [[ -n ${FUZZ_KEEP:-} ]]; then
		"$TEST_TMP/$format" -merge=1 -max_len=4096 "$kept" "$new" \
			>/dev/null 2>&1
	fi
}

# replay_it FORMAT
replay_it() {
	local format=$1
	take_sources "$1"
	"${CC:-cc}" "${flags[@]}" -fsanitize=address,undefined \
		-DFORMAT_"${format/-/_}" -o "$TEST_TMP/replay-$format" \
		"$fuzz/replay.c" "${SOURCES[@]}" "${libs[@]}"
	"$TEST_TMP/replay-$format" "$fuzz/corpus/$format"/*
}

for format in "${formats[@]}"; do
	say "$format, the inputs in corpus/"
	replay_it "$format"
done
if has_fuzzer; then
	for format in "${formats[@]}"; do
		say "$format, for $seconds seconds"
		fuzz_it "$format"
	done
fi
