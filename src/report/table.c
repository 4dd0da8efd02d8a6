/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table for people: one extent a line, and the totals at the end.
 *
 * Columns hold bytes and are as wide as the size needs. The totals are given in
 * binary units and as shares, too. No program should parse this: it is free to
 * change, unlike the JSON format.
 */
#include "report/report.h"

#include <stdio.h>

/* Room for "18446744073709551615" and "1023.9 KiB" alike. */
enum { TEXT_LEN = 24 };

static int column_width(const struct bsp_report_output *out)
{
	int width = (int)sizeof("LENGTH") - 1;
	int digits = 1;

	for (uint64_t rest = out->report->size; rest >= 10; rest /= 10)
		digits++;
	return MAX(width, digits);
}

/* 1536 is "1.5 KiB". Tenths are truncated: 1023.99 KiB is "1023.9 KiB". */
static const char *readable(uint64_t bytes, char text[TEXT_LEN])
{
	static const char units[] = "KMGTPE";
	unsigned shift = 0;
	uint64_t tenths;

	while (bytes >> shift >= 1024)
		shift += 10;
	if (shift == 0) {
		(void)snprintf(text, TEXT_LEN, "%u B", (unsigned)bytes);
		return text;
	}
	tenths = ((bytes >> (shift - 10)) % 1024) * 10 / 1024;
	(void)snprintf(text, TEXT_LEN, "%" G_GUINT64_FORMAT ".%u %ciB",
		       bytes >> shift, (unsigned)tenths, units[shift / 10 - 1]);
	return text;
}

/* The share in tenths of a percent; 0 and 1000 only where they are exact. */
static unsigned share(uint64_t part, uint64_t whole)
{
	double tenths;

	if (part == 0 || part == whole)
		return part == 0 ? 0 : 1000;
	tenths = (double)part / (double)whole * 1000 + 0.5;
	return (unsigned)CLAMP(tenths, 1, 999);
}

static int table_begin(struct bsp_report_output *out)
{
	int width = column_width(out);

	if (out->report->summary)
		return 0;
	return bsp_report_printf(out, "%*s  %*s  %*s  TYPE\n", width, "START",
				 width, "END", width, "LENGTH");
}

static int table_extent(struct bsp_report_output *out,
			const struct bsp_extent *extent)
{
	int width = column_width(out);

	return bsp_report_printf(out,
				 "%*" G_GUINT64_FORMAT "  %*" G_GUINT64_FORMAT
				 "  %*" G_GUINT64_FORMAT "  %s\n",
				 width, extent->off, width,
				 extent->off + extent->len, width, extent->len,
				 bsp_extent_type_name(extent->type));
}

static int put_total(struct bsp_report_output *out, enum bsp_extent_type type)
{
	unsigned tenths = share(out->bytes[type], out->report->size);
	uint64_t count = out->extents[type];
	char text[TEXT_LEN];

	return bsp_report_printf(out,
				 "%-7s  %*" G_GUINT64_FORMAT "  %10s  %3u.%u%%"
				 "  %" G_GUINT64_FORMAT " extent%s\n",
				 bsp_extent_type_name(type), column_width(out),
				 out->bytes[type],
				 readable(out->bytes[type], text), tenths / 10,
				 tenths % 10, count, count == 1 ? "" : "s");
}

static int table_end(struct bsp_report_output *out)
{
	char text[TEXT_LEN];
	int r = 0;

	if (!out->report->summary)
		r = bsp_report_puts(out, "\n");
	if (r == 0)
		r = put_total(out, BSP_EXTENT_DATA);
	if (r == 0)
		r = put_total(out, BSP_EXTENT_HOLE);
	if (r == 0 && out->extents[BSP_EXTENT_UNKNOWN])
		r = put_total(out, BSP_EXTENT_UNKNOWN);
	if (r < 0)
		return r;
	return bsp_report_printf(out, "%-7s  %*" G_GUINT64_FORMAT "  %10s\n",
				 "total", column_width(out), out->report->size,
				 readable(out->report->size, text));
}

const struct bsp_report_format bsp_report_table = {
	.name = "table",
	.granule = 1,
	.has_summary = true,
	.tells_unknown = true,
	.begin = table_begin,
	.extent = table_extent,
	.end = table_end,
};
