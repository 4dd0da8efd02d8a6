# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Installs the build below $TEST_TMP, so that a test can use the library as any
# other program does. To be sourced after lib/common.sh. Sets $root (DESTDIR),
# $prefix and $libdir below it, and PKG_CONFIG_PATH.

# build_option NAME: the value of an option of the build.
build_option() {
	meson introspect "$BUILD" --buildoptions |
		jq -r --arg name "$1" '.[] | select(.name == $name).value'
}

root=$TEST_TMP/root
DESTDIR=$root meson install -C "$BUILD" --no-rebuild >"$TEST_TMP/install.log"
prefix=$root$(build_option prefix)
libdir=$prefix/$(build_option libdir)

# The file names the place that the library will have later.
sed -i "s|^prefix=.*|prefix=$prefix|" "$libdir/pkgconfig/libblksparse.pc"
export PKG_CONFIG_PATH=$libdir/pkgconfig
