/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The output of qemu-img map --output=json for a raw image, byte for byte, as
 * QEMU 7.2 writes it; later versions add a key, "compressed".
 *
 * QEMU counts in sectors of 512 bytes. If the size is not a multiple of a
 * sector, QEMU adds a hole up to the next one, merged with a hole before it.
 * For an empty file it writes one extent of length 0.
 */
#include "report/report.h"

enum { SECTOR = 512 };

static int put_entry(struct bsp_report_output *out, uint64_t off, uint64_t len,
		     bool zero, bool first)
{
	return bsp_report_printf(
		out,
		"%s{ \"start\": %" G_GUINT64_FORMAT
		", \"length\": %" G_GUINT64_FORMAT
		", \"depth\": 0, \"present\": true, \"zero\": %s"
		", \"data\": %s, \"offset\": %" G_GUINT64_FORMAT "}",
		first ? "" : ",\n", off, len, zero ? "true" : "false",
		zero ? "false" : "true", off);
}

static int qemu_begin(struct bsp_report_output *out)
{
	return bsp_report_puts(out, "[");
}

static int qemu_extent(struct bsp_report_output *out,
		       const struct bsp_extent *extent)
{
	bool hole = extent->type == BSP_EXTENT_HOLE;
	uint64_t end = extent->off + extent->len;
	uint64_t pad = 0;
	int r;

	if (end == out->report->size && end % SECTOR)
		pad = SECTOR - end % SECTOR;
	r = put_entry(out, extent->off, extent->len + (hole ? pad : 0), hole,
		      bsp_report_at_first(out));
	if (r == 0 && pad && !hole)
		r = put_entry(out, end, pad, true, false);
	return r;
}

static int qemu_end(struct bsp_report_output *out)
{
	if (out->report->size == 0)
		return bsp_report_puts(
			out, "{ \"start\": 0, \"length\": 0, \"depth\": 0, "
			     "\"present\": false, \"zero\": false, "
			     "\"data\": false}]\n");
	return bsp_report_puts(out, "]\n");
}

const struct bsp_report_format bsp_report_qemu = {
	.name = "qemu",
	.granule = 1,
	.begin = qemu_begin,
	.extent = qemu_extent,
	.end = qemu_end,
};
