/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sizes as people write them: "4096", "64K", "1MiB". A unit is a letter, with
 * or without "i", "B" or "iB" after it, in capitals or not; it always stands
 * for a power of 1024. strtoull() is no help here: it takes signs, blanks and
 * octal numbers, and stops at the K of "64KB" without an error.
 */
#include "blksparse.h"

#include <string.h>

#include "base/error.h"

/* Each unit is 1024 times the one before it; the first is 1024. */
static const char units[] = "KMGTP";

/* The text that may follow the letter of a unit. */
static const char *const suffixes[] = { "", "i", "iB", "B" };

/* Parses the digits at the start of *text, and moves *text past them. Returns
 * false if the number does not fit. */
static bool parse_digits(const char **text, uint64_t *ret_value)
{
	uint64_t value = 0;

	for (; g_ascii_isdigit(**text); ++*text) {
		uint64_t digit = (uint64_t)(**text - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*ret_value = value;
	return true;
}

/* Parses unit, all of the text after the digits. *ret_shift is the number of
 * bits by which it multiplies. */
static bool parse_unit(const char *unit, unsigned *ret_shift)
{
	const char *letter;

	if (*unit == '\0') {
		*ret_shift = 0;
		return true;
	}
	letter = strchr(units, g_ascii_toupper(*unit));
	if (!letter)
		return false;
	for (size_t i = 0; i < G_N_ELEMENTS(suffixes); i++) {
		if (g_ascii_strcasecmp(unit + 1, suffixes[i]) != 0)
			continue;
		*ret_shift = 10 * (unsigned)(letter - units + 1);
		return true;
	}
	return false;
}

bool bsp_parse_size(const char *text, uint64_t *ret_size, GError **error)
{
	const char *unit = text;
	uint64_t value = 0;
	unsigned shift;
	bool fits;

	if (!g_ascii_isdigit(*text))
		return bsp_error_set(error, BSP_ERROR_USAGE,
				     "'%s' is not a size, as 4096 or 64K are",
				     text);
	fits = parse_digits(&unit, &value);
	if (fits && !parse_unit(unit, &shift))
		return bsp_error_set(error, BSP_ERROR_USAGE,
				     "'%s' has a unit other than K, M, G, T, P "
				     "(1K is 1024 bytes)",
				     text);
	if (!fits || value > UINT64_MAX >> shift)
		return bsp_error_set(error, BSP_ERROR_USAGE,
				     "'%s' is too large: it must fit 64 bits",
				     text);
	*ret_size = value << shift;
	return true;
}
