/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blksparse-mount.h"

/* The length of the control character at the place: one byte, or in UTF-8 two
 * for U+0080 to U+009F, which terminals obey as well (ECMA-48, C1). 0 if there
 * is none. */
static unsigned control_length(const char *at)
{
	if (g_ascii_iscntrl(*at))
		return 1;
	return at[0] == '\xc2' && ((unsigned char)at[1] & 0xe0) == 0x80 ? 2 : 0;
}

void bsp_make_printable(char *text)
{
	char *to = text;

	for (const char *at = text; *at;) {
		unsigned len = control_length(at);

		if (len)
			*to++ = '?';
		else
			*to++ = *at++;
		at += len;
	}
	*to = '\0';
}
