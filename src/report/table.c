/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table for people: one extent a line, and the totals at the end.
 *
 * Columns hold bytes and are as wide as the size needs. The totals are given in
 * binary units and as shares, too. No program should parse this: it is free to
 * change, unlike the JSON format.
 */
#include "report/report.h"

static int column_width(const struct bsp_report_output *out)
{
	int width = (int)sizeof("LENGTH") - 1;
	int digits = 1;

	for (uint64_t rest = out->report->size; rest >= 10; rest /= 10)
		digits++;
	return MAX(width, digits);
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
				 bsp_report_type_name(out, extent->type));
}

char *bsp_report_total_text(const struct bsp_report_output *out,
			    enum bsp_extent_type type)
{
	unsigned tenths = bsp_report_share(out->bytes[type], out->report->size);
	uint64_t count = out->extents[type];
	char size[BSP_SIZE_TEXT_LEN];

	return g_strdup_printf(
		"%-7s  %*" G_GUINT64_FORMAT "  %10s  %3u.%u%%"
		"  %" G_GUINT64_FORMAT " extent%s\n",
		bsp_report_type_name(out, type), column_width(out),
		out->bytes[type], bsp_report_size_text(out->bytes[type], size),
		tenths / 10, tenths % 10, count, count == 1 ? "" : "s");
}

char *bsp_report_whole_text(const struct bsp_report_output *out)
{
	char size[BSP_SIZE_TEXT_LEN];

	return g_strdup_printf("%-7s  %*" G_GUINT64_FORMAT "  %10s\n", "total",
			       column_width(out), out->report->size,
			       bsp_report_size_text(out->report->size, size));
}

static int put_total(struct bsp_report_output *out, enum bsp_extent_type type)
{
	g_autofree char *line = bsp_report_total_text(out, type);

	return bsp_report_puts(out, line);
}

static int table_end(struct bsp_report_output *out)
{
	g_autofree char *whole = bsp_report_whole_text(out);
	int r = 0;

	if (!out->report->summary)
		r = bsp_report_puts(out, "\n");
	for (int type = 0; r == 0 && type < BSP_EXTENT_TYPES; type++) {
		if (bsp_report_tells(out, (enum bsp_extent_type)type))
			r = put_total(out, (enum bsp_extent_type)type);
	}
	return r < 0 ? r : bsp_report_puts(out, whole);
}

const struct bsp_report_format bsp_report_table = {
	.name = "table",
	.granule = 1,
	.has_summary = true,
	.tells_unknown = true,
	.skips_same = true,
	.begin = table_begin,
	.extent = table_extent,
	.end = table_end,
};
