/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No locale is set (message.c), so the user's encoding is looked up here. */
#include "terminal.h"

#include <glib.h>
#include <langinfo.h>
#include <locale.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLUMNS_DEFAULT = 80, ROWS_DEFAULT = 24, NUMBER_MAX = 10000 };

/* The number that a variable of the environment has; 0: none. */
static unsigned number_of(const char *variable)
{
	const char *text = g_getenv(variable);
	guint64 number;

	if (text &&
	    g_ascii_string_to_unsigned(text, 10, 1, NUMBER_MAX, &number, NULL))
		return (unsigned)number;
	return 0;
}

static struct winsize window(void)
{
	struct winsize size = { 0 };

	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	return size;
}

unsigned terminal_columns(void)
{
	unsigned columns = number_of("COLUMNS");

	if (!columns)
		columns = window().ws_col;
	return columns ? columns : COLUMNS_DEFAULT;
}

unsigned terminal_rows(void)
{
	unsigned rows = number_of("LINES");

	if (!rows)
		rows = window().ws_row;
	return rows ? rows : ROWS_DEFAULT;
}

bool terminal_is_utf8(void)
{
	locale_t locale = newlocale(LC_CTYPE_MASK, "", NULL);
	bool is =
		locale && strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;

	if (locale)
		freelocale(locale);
	return is;
}

bool terminal_has_colours(void)
{
	const char *off = g_getenv("NO_COLOR");
	const char *term = g_getenv("TERM");

	return isatty(STDOUT_FILENO) && !(off && *off) && term && *term &&
	       strcmp(term, "dumb") != 0;
}
