/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The header that every unit test includes first: cmocka needs these headers
 * before its own.
 * Tests use the names of cmocka 2, which warns of some older ones; a name that
 * an older cmocka lacks is defined here. (assert_uint_in_range of cmocka 2.0
 * casts to a signed type, which gcc warns of.)
 */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#ifndef assert_int_in_range
#define assert_int_in_range assert_in_range
#endif

#endif
