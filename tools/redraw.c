/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The cursor goes up to the first line of the last text. That works only if no
 * line of it was wrapped or has left the screen, so all are cut to fit.
 */
#include "redraw.h"

#include "terminal.h"

/* Returns the first columns of a line. */
static char *cut(const char *line, unsigned columns)
{
	unsigned width = 0;
	const char *at = line;

	for (; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);

		if (!g_unichar_iszerowidth(c))
			width += g_unichar_iswide(c) ? 2 : 1;
		if (width > columns)
			break;
	}
	return g_strndup(line, (gsize)(at - line));
}

void redraw_write(struct redraw *redraw, const char *text, bsp_write_fn write,
		  void *data)
{
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	unsigned columns = terminal_columns(), rows = terminal_rows();
	GString *out = g_string_new(NULL);
	unsigned n = 0;

	if (redraw->lines)
		g_string_append_printf(out, "\033[%uA", redraw->lines);
	/* The last row is for the cursor. */
	for (; lines[n] && lines[n + 1] && n + 1 < rows; n++) {
		g_autofree char *line = cut(lines[n], columns);

		g_string_append_printf(out, "\r%s\033[K\n", line);
	}
	g_string_append(out, "\033[J");
	(void)write(data, out->str, out->len);
	g_string_free(out, true);
	redraw->lines = n;
}
