/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers and names as people read them, the same in all formats for people. */
#include "report/report.h"

#include <stdio.h>

static const char units[] = "KMGTPE";

const char *bsp_report_size_text(uint64_t bytes, char text[BSP_SIZE_TEXT_LEN])
{
	unsigned shift = 0;
	uint64_t tenths;

	while (bytes >> shift >= 1024)
		shift += 10;
	if (shift == 0) {
		(void)snprintf(text, BSP_SIZE_TEXT_LEN, "%u B",
			       (unsigned)bytes);
		return text;
	}
	tenths = ((bytes >> (shift - 10)) % 1024) * 10 / 1024;
	(void)snprintf(text, BSP_SIZE_TEXT_LEN, "%" G_GUINT64_FORMAT ".%u %ciB",
		       bytes >> shift, (unsigned)tenths, units[shift / 10 - 1]);
	return text;
}

const char *bsp_report_offset_text(uint64_t off, uint64_t step,
				   char text[BSP_SIZE_TEXT_LEN])
{
	unsigned shift = 0;
	uint64_t halves;

	/* The largest unit in which the step is a multiple of a half. */
	while (shift < 60 && step % (UINT64_C(1) << (shift + 9)) == 0)
		shift += 10;
	if (off == 0 || shift == 0) {
		(void)snprintf(text, BSP_SIZE_TEXT_LEN,
			       "%" G_GUINT64_FORMAT "%s", off,
			       off == 0 ? "" : " B");
		return text;
	}
	halves = off >> (shift - 1);
	(void)snprintf(text, BSP_SIZE_TEXT_LEN, "%" G_GUINT64_FORMAT "%s %ciB",
		       halves / 2, halves % 2 ? ".5" : "",
		       units[shift / 10 - 1]);
	return text;
}

unsigned bsp_report_share(uint64_t part, uint64_t whole)
{
	double tenths;

	if (part == 0 || part == whole)
		return part == 0 ? 0 : 1000;
	tenths = (double)part / (double)whole * 1000 + 0.5;
	return (unsigned)CLAMP(tenths, 1, 999);
}

char *bsp_report_printable(const char *text, bool ascii)
{
	g_autofree char *valid = g_utf8_make_valid(text, -1);
	GString *shown = g_string_new(NULL);

	for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);

		if (!g_unichar_isprint(c) || (ascii && c >= 0x80))
			c = '?';
		g_string_append_unichar(shown, c);
	}
	return g_string_free(shown, false);
}

char *bsp_report_title(const struct bsp_report *report, bool ascii)
{
	g_autofree char *both = NULL;

	if (!report->other)
		return bsp_report_printable(report->path, ascii);
	both = g_strdup_printf("%s and %s", report->path, report->other);
	return bsp_report_printable(both, ascii);
}
