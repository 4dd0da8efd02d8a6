# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Functions for the tests of blksparse map: they read a report's extents, and
# check the copies that other tools make with a report.

# shellcheck source=../lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

CLI=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

map() {
	"$TOOL" map "$@"
}

# map_extents FORMAT PATH SIZE [OPTION...]: prints lines "OFFSET LENGTH
# data|hole".
map_extents() {
	map --format="$1" "${@:4}" "$2" |
		python3 "$CLI/extents.py" list "$1" "$3"
}

# qemu_map PATH: the map of qemu-img, without the key "compressed" that QEMU 8.2
# added.
qemu_map() {
	qemu-img map -f raw --output=json "$1" |
		sed 's/, "compressed": false//g'
}

# filled SIZE: makes a file $FILLED of 0x55, in whose copies the copied parts
# can be told from holes.
filled() {
	FILLED=$TEST_TMP/filled
	head -c "$1" /dev/zero | tr '\0' '\125' >"$FILLED"
}

only_data() {
	python3 "$CLI/extents.py" only-data "$1" ||
		fail "the copied parts differ from the data in the map"
}

# assert_bmap PATH SIZE [OPTION...]: bmaptool with the map of PATH makes a copy
# with the same bytes, and copies exactly the data of the map.
assert_bmap() {
	local bmap=$TEST_TMP/bmap copy=$TEST_TMP/copy
	map --format=bmap "${@:3}" "$1" >"$bmap"
	rm -f "$copy"
	bmaptool -q copy --bmap "$bmap" "$1" "$copy"
	assert_same_bytes "$1" "$copy"
	filled "$2"
	rm -f "$copy"
	bmaptool -q copy --bmap "$bmap" "$FILLED" "$copy"
	map_extents bmap "$1" "$2" "${@:3}" | only_data "$copy"
}

# assert_ddrescue PATH SIZE [OPTION...]: the same for ddrescue.
assert_ddrescue() {
	local domain=$TEST_TMP/domain copy=$TEST_TMP/copy
	map --format=ddrescue "${@:3}" "$1" >"$domain"
	ddrescuelog --show-status "$domain" >/dev/null
	rescue "$domain" "$1" "$2" "$copy"
	assert_same_bytes "$1" "$copy"
	filled "$2"
	rescue "$domain" "$FILLED" "$2" "$copy"
	map_extents ddrescue "$1" "$2" "${@:3}" | only_data "$copy"
}

# rescue DOMAIN SOURCE SIZE COPY
rescue() {
	rm -f "$4" "$4.map"
	: >"$4"
	# Without any data ddrescue would fail: it has nothing to do.
	if grep -q '+$' "$1"; then
		ddrescue -q --domain-mapfile="$1" "$2" "$4" "$4.map"
		ddrescuelog -q --done-status --domain-mapfile="$1" "$4.map"
	fi
	truncate -s "$3" "$4"
}
