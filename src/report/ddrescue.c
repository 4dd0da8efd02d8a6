/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A mapfile of GNU ddrescue, to be used as a domain (--domain-mapfile).
 *
 * ddrescue copies only the finished blocks ('+') of a domain, so data is
 * finished. Holes are non-tried ('?'), not failed, so that ddrescuelog reports
 * no errors. The status line is the one that ddrescuelog --create-mapfile
 * writes.
 */
#include "report/report.h"

static int ddrescue_begin(struct bsp_report_output *out)
{
	return bsp_report_puts(
		out,
		"# Mapfile. Created by blksparse version " PACKAGE_VERSION "\n"
		"# Data is finished (+), holes are non-tried (?): "
		"a domain mapfile\n"
		"# current_pos  current_status  current_pass\n"
		"0x00000000     ?               1\n"
		"#      pos        size  status\n");
}

static int ddrescue_extent(struct bsp_report_output *out,
			   const struct bsp_extent *extent)
{
	return bsp_report_printf(out,
				 "0x%08" G_GINT64_MODIFIER "X  "
				 "0x%08" G_GINT64_MODIFIER "X  %c\n",
				 extent->off, extent->len,
				 extent->type == BSP_EXTENT_HOLE ? '?' : '+');
}

static int ddrescue_end(struct bsp_report_output *out)
{
	return 0;
}

const struct bsp_report_format bsp_report_ddrescue = {
	.name = "ddrescue",
	.granule = 1,
	.begin = ddrescue_begin,
	.extent = ddrescue_extent,
	.end = ddrescue_end,
};
