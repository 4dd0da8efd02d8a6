#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The library as another program uses it: installed, found by pkg-config,
# from C and from C++, with the symbols of the header and no others.
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=installed.sh
. "$(dirname "$0")/installed.sh"

read -ra flags < <(pkg-config --cflags --libs libblksparse)
[[ $(pkg-config --modversion libblksparse) == 0.1.0 ]] ||
	fail "pkg-config does not know the library"

soname=$(objdump -p "$libdir/libblksparse.so" | awk '/SONAME/ {print $2}')
[[ $soname == libblksparse.so.0 ]] || fail "the soname is '$soname'"

# installed COMMAND...: runs it with the installed files in their place. No
# variable and no cache of the loader says where the library is.
place=${prefix#"$root"}
installed() {
	# shellcheck disable=SC2016 # the inner shell expands it
	env -u LD_LIBRARY_PATH -u PKG_CONFIG_PATH \
		unshare --mount --propagation private bash -euc '
		mount --bind "$1" "$2"
		shift 2
		exec "$@"' - "$prefix" "$place" "$@"
}
if ((EUID == 0)) && [[ $place == /usr/local ]]; then
	say "in its place"
	for program in "$prefix"/bin/*; do
		program=$place/bin/${program##*/}
		installed "$program" --version ||
			fail "$program does not start"
	done
	if [[ $(pkg-config --variable pc_path pkg-config) == *"$place"* ]]; then
		installed pkg-config --exists libblksparse ||
			fail "pkg-config does not look into ${libdir#"$root"}"
	fi
fi

# Each function of a header is exported in the node of that header, and no other
# symbol is. Only the public header is installed.
header=$prefix/include/blksparse.h
[[ $(ls "$prefix/include") == blksparse.h ]] ||
	fail "headers installed: $(ls "$prefix/include")"

# declared HEADER...: the functions that the headers declare themselves.
declared() {
	sed '/^#/d' "$@" | gcc -fpreprocessed -dD -E -P -x c - |
		grep -oE '\bbsp_[a-z_]+ ?\(' | tr -d ' (' | sort -u
}

# exported NODE: the functions that the library exports in this node.
exported() {
	nm -D --defined-only --with-symbol-versions "$libdir/libblksparse.so" |
		awk '$2 == "T" {print $3}' | sed -n "s/@@$1\$//p" | sort -u
}

diff <(declared "$header") <(exported BLKSPARSE_0) ||
	fail "the public header (<) and the library (>) differ"
diff <(declared "$SRC"/include/blksparse-*.h) \
	<(exported BLKSPARSE_PRIVATE) ||
	fail "the private headers (<) and the library (>) differ"

# The page lists each function, and has the two programs.
page=$prefix/share/man/man3/libblksparse.3
if [[ -e $page ]]; then
	diff <(declared "$header") <(grep -ow 'bsp_[a-z_]*' "$page" |
		grep -Fxf <(exported BLKSPARSE_0) | sort -u) ||
		fail "libblksparse(3) lacks functions of the header (<)"
	for line in 'bsp_sparse_extent(sp, run' 'bsp_copy(source, target'; do
		grep -Fq "$line" "$page" || fail "the page lacks '$line'"
	done
fi

cat >"$TEST_TMP/user.c" <<'C'
#include <blksparse.h>
#include <stdio.h>

#if !BSP_CHECK_VERSION(0, 1, 0) || BSP_CHECK_VERSION(0, 999, 0)
#error "BSP_CHECK_VERSION() compares wrongly"
#endif

int main(int argc, char **argv)
{
	GError *error = NULL;
	struct bsp_device *dev = bsp_device_open(argv[1], &error);
	struct bsp_sparse *sp = bsp_sparse_new(dev, NULL, &error);
	uint64_t data, hole = 0;

	if (bsp_version() != BSP_VERSION_NUMBER(BSP_VERSION_MAJOR,
						BSP_VERSION_MINOR,
						BSP_VERSION_MICRO))
		return 2;
	printf("%d.%d.%d: ", BSP_VERSION_MAJOR, BSP_VERSION_MINOR,
	       BSP_VERSION_MICRO);
	if (!sp) {
		fprintf(stderr, "%s\n", error->message);
		return 1;
	}
	while (bsp_sparse_seek_data(sp, hole, NULL, NULL, &data) == 0 &&
	       bsp_sparse_seek_hole(sp, data, NULL, NULL, &hole) == 0)
		printf("%lu %lu\n", (unsigned long)data, (unsigned long)hole);
	bsp_sparse_free(sp);
	return 0;
}
C
cp "$TEST_TMP/user.c" "$TEST_TMP/user.cc"
truncate -s 1M "$TEST_TMP/image"
printf x | dd of="$TEST_TMP/image" bs=1 seek=8192 conv=notrunc status=none
for compile in "gcc -std=c11 $TEST_TMP/user.c" "g++ -std=c++17 $TEST_TMP/user.cc"; do
	# shellcheck disable=SC2086 # a command and its arguments
	$compile -Wall -Wextra -Wpedantic -Werror -Wno-unused-parameter \
		-o "$TEST_TMP/user" "${flags[@]}"
	out=$(LD_LIBRARY_PATH=$libdir "$TEST_TMP/user" "$TEST_TMP/image")
	[[ $out == "$(pkg-config --modversion libblksparse): 8192 12288" ]] || fail "the program says '$out'"
done
