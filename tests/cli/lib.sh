# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# For tests of blksparse map: what a report says, and whether the tools that it
# is for do with it what it is for.

# shellcheck source=../lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.sh"

CLI=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

map() {
	"$TOOL" map "$@"
}

# map_extents FORMAT PATH SIZE [OPTION...]: lines "OFFSET LENGTH data|hole".
map_extents() {
	map --format="$1" "${@:4}" "$2" |
		python3 "$CLI/extents.py" list "$1" "$3"
}

# qemu_map PATH: the map that qemu-img prints, as before QEMU 8.2, which added
# whether an extent is compressed.
qemu_map() {
	qemu-img map -f raw --output=json "$1" |
		sed 's/, "compressed": false//g'
}

# filled SIZE: a file $FILLED that shows what is copied of it: 0x55 all over.
filled() {
	FILLED=$TEST_TMP/filled
	head -c "$1" /dev/zero | tr '\0' '\125' >"$FILLED"
}

only_data() {
	python3 "$CLI/extents.py" only-data "$1" ||
		fail "what was copied is not what the map says"
}

# assert_bmap PATH SIZE [OPTION...]: bmaptool makes a copy of PATH with its map
# that has the same bytes, and copies what the map calls data and no more.
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
	# It has nothing to do, and says so, where there is no data.
	if grep -q '+$' "$1"; then
		ddrescue -q --domain-mapfile="$1" "$2" "$4" "$4.map"
		ddrescuelog -q --done-status --domain-mapfile="$1" "$4.map"
	fi
	truncate -s "$3" "$4"
}
