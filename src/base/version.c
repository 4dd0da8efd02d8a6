/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The library's version at run time. The header has it in numbers, for the
 * preprocessor; meson.build has it again, for packages and soname;
 * tests/cli/test-library.sh compares the two.
 */
#include "blksparse.h"

unsigned bsp_version(void)
{
	return BSP_VERSION_NUMBER(BSP_VERSION_MAJOR, BSP_VERSION_MINOR,
				  BSP_VERSION_MICRO);
}
