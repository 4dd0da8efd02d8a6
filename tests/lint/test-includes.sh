#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# No #include points up, sideways past what the layers allow, or in a circle.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# tree FILE INCLUDE...: a tree in which FILE has these lines, and in which all
# else is as it should be.
tree() {
	local file=$1 name
	rm -rf "$TEST_TMP/tree"
	mkdir -p "$TEST_TMP"/tree/{include,fuse,tools,src/{base,device,sparse}} \
		"$TEST_TMP"/tree/src/{stream,transfer,report}
	cd "$TEST_TMP/tree"
	touch include/blksparse.h fuse/watch.h tools/output.h src/device/alone.h
	for name in base device sparse stream transfer report; do
		touch "src/$name/$name.h"
		echo "#include \"$name/$name.h\"" >"src/$name/$name.c"
	done
	echo '#include "base/base.h"' >>src/device/device.h
	echo '#include "device/device.h"' >>src/sparse/sparse.c
	echo '#include "blksparse.h"' >>src/sparse/sparse.c
	shift
	(($# == 0)) || printf '#include %s\n' "$@" >>"$file"
	cd "$SRC"
}

# accepted WHAT, refused WHAT SENTENCE: of the tree that was made.
accepted() {
	python3 "$LINT/includes.py" "$TEST_TMP/tree" >"$TEST_TMP/faults" ||
		fail "$1 was refused: $(<"$TEST_TMP/faults")"
}

refused() {
	run_status python3 "$LINT/includes.py" "$TEST_TMP/tree"
	assert_eq "$STATUS" 1 "status for $1"
	assert_contains "$(<"$TEST_TMP/.out")" "$2" "$1"
	assert_eq "$(wc -l <"$TEST_TMP/.out")" 1 "faults for $1"
}

say "self-test"
tree src/base/base.c
accepted "a tree without a fault"
tree fuse/watch.h '<blksparse.h>' '<glib.h>'
accepted "the public header in fuse/"
tree src/base/base.c '"device/alone.h"'
refused "an include that points up" \
	"src/base/base.c:2: src/base must not include src/device/alone.h"
tree src/stream/stream.h '"sparse/sparse.h"'
refused "an include that points sideways" \
	"src/stream/stream.h:1: src/stream must not include src/sparse/sparse.h"
tree src/report/report.c '"device/device.h"'
refused "the device in a report" "src/report must not include"
tree fuse/watch.h '"../src/sparse/sparse.h"'
refused "the inside of the library in fuse/" "fuse must not include"
tree tools/output.h '"../fuse/watch.h"'
refused "fuse/ in tools/" "tools must not include"
tree src/device/device.c '"../base/base.h"'
refused "a path that is not from src/" 'write the path from src/: "base/base.h"'
tree src/base/base.c '"stdio.h"'
refused "quotes around a header of the system" "write <> around"
tree src/base/base.h '"base/two.h"'
echo '#include "base/base.h"' >"$TEST_TMP/tree/src/base/two.h"
refused "headers that include each other" \
	"in a circle: src/base/base.h -> src/base/two.h -> src/base/base.h"
tree src/base/base.c '"base/two.h"'
touch "$TEST_TMP/tree/src/base/two.h"
echo '#include "base/base.h"' >"$TEST_TMP/tree/src/base/two.c"
refused "modules that need each other" \
	"round in a circle: src/base/base -> src/base/two -> src/base/base"
tree src/base/base.h
mkdir "$TEST_TMP/tree/src/new"
echo '#include "base/base.h"' >"$TEST_TMP/tree/src/new/new.c"
refused "a folder without a place" "src/new has no place in the layers"

say "the tree"
python3 "$LINT/includes.py" || fail "includes that break the layers"
