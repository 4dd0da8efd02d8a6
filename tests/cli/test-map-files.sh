#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Sparse files: each format has the extents of lseek(), and its tool accepts it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

requires python3 qemu-img bmaptool ddrescue ddrescuelog

cd "$TEST_TMP"

# check_file FILE
check_file() {
	local file=$1 size format
	size=$(stat -c %s "$file")
	say "$file, $size bytes"
	ask extents "$file" >expected
	for format in table json qemu ddrescue; do
		map_extents "$format" "$file" "$size" >got
		diff -u expected got || fail "$format of $file"
	done
	map --format=qemu "$file" >got
	qemu_map "$file" >expected
	diff -u expected got || fail "the qemu format of $file differs from qemu-img"
	# The tools sync their copies, which is slow.
	case $kind:$size in
	data:512 | zero:1049088 | edges:1049088 | mixed:4194305)
		assert_bmap "$file" "$size"
		assert_bmap "$file" "$size" --granule=64K
		assert_ddrescue "$file" "$size"
		assert_ddrescue "$file" "$size" --granule=1M
		;;
	esac
}

for kind in zero data first last alternating edges mixed; do
	for size in 512 1049088 4194305; do
		python3 "$LIB/devices.py" make --sparse "$kind" "$size" \
			"$kind-$size"
		check_file "$kind-$size"
	done
done

say "on a file system with small blocks"
truncate -s 32M small-blocks.img
mke2fs -q -t ext4 -b 1024 small-blocks.img
mkdir mnt
if ((EUID == 0)) && losetup -f >/dev/null 2>&1; then
	loop_new "$TEST_TMP/small-blocks.img"
	mount "$LOOP" mnt
	cleanup force_umount "$TEST_TMP/mnt"
	cp --sparse=always mixed-4194305 mnt/file
	printf x | dd of=mnt/file bs=1 seek=5M conv=notrunc status=none
	truncate -s 6000001 mnt/file
	sync mnt/file
	check_file mnt/file
	map --format=json mnt/file >report
	# Extents that begin inside a page prove that none was rounded.
	python3 - report <<-'EOF'
		import json, sys
		report = json.load(open(sys.argv[1]))
		assert report["granule"] == 1
		assert any(e["start"] % 4096 for e in report["extents"])
	EOF
fi

say "an empty file"
: >empty
assert_eq "$(map --format=qemu empty)" \
	"$(qemu_map empty)" "qemu of an empty file"
assert_eq "$(map_extents json empty 0)" "" "extents of an empty file"
run_status map --format=bmap empty
assert_eq "$STATUS" 1 "status of bmap of an empty file"
assert_contains "$ERR" "empty" "bmap of an empty file"

say "--summary"
map --summary mixed-4194305 >summary
map mixed-4194305 | sed '1,/^$/d' | diff -u - summary ||
	fail "the summary differs from the totals of the table"
map --summary --format=json mixed-4194305 >summary
map --format=json mixed-4194305 >full
python3 - full summary <<'EOF'
import json, sys
full, summary = (json.load(open(name)) for name in sys.argv[1:])
extents = full.pop("extents")
assert list(summary) == ["format", "version", "path", "size", "granule",
                         "totals"], list(summary)
assert full == summary
for kind in ("data", "hole", "unknown"):
    lengths = [e["length"] for e in extents if e["type"] == kind]
    assert summary["totals"][kind] == {"bytes": sum(lengths),
                                       "extents": len(lengths)}, kind
EOF

say "paths with special characters"
mkdir odd
for name in $'new\nline' $'not utf-8 \xff\xfe' '--summary' 'quo"te\d' '-->'; do
	cp --sparse=always mixed-1049088 "odd/$name"
	map_extents json "odd/$name" 1049088 >got
	ask extents "odd/$name" | diff -u - got || fail "json of a path"
	map --format=bmap "odd/$name" | python3 -c 'import sys
import xml.etree.ElementTree as e
e.parse(sys.stdin)'
	map --format=ddrescue "odd/$name" >got.map
	ddrescuelog --show-status got.map >/dev/null
done
cd odd
map --format=json -- --summary | python3 -c 'import json, sys
assert json.load(sys.stdin)["path"] == "--summary"'
