/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A block map for bmaptool: version 2.0 of its XML format, without checksums of
 * the data.
 *
 * Two elements are known only when all ranges are written: the number of mapped
 * blocks, and the checksum of the map itself, computed with zeros in the place
 * of the checksum. bmaptool finds elements by name, so both come last. So the
 * source is walked only once, and the map is consistent even if the source
 * changes meanwhile.
 */
#include "report/report.h"

#include <string.h>

/* Hexadecimal digits of a SHA-256. */
enum { CHECKSUM_LEN = 64 };

static uint64_t blocks(const struct bsp_report_output *out, uint64_t bytes)
{
	return bytes / out->granule + (bytes % out->granule != 0);
}

static int bmap_begin(struct bsp_report_output *out)
{
	const char *xml = "<?xml version=\"1.0\" ?>\n"
			  "<!-- Made by blksparse: blocks that are in no range "
			  "hold only zeros. -->\n"
			  "<bmap version=\"2.0\">\n";
	int r;

	out->checksum = g_checksum_new(G_CHECKSUM_SHA256);
	r = bsp_report_puts(out, xml);
	if (r < 0)
		return r;
	return bsp_report_printf(
		out,
		"    <ImageSize> %" G_GUINT64_FORMAT " </ImageSize>\n"
		"    <BlockSize> %" G_GUINT32_FORMAT " </BlockSize>\n"
		"    <BlocksCount> %" G_GUINT64_FORMAT " </BlocksCount>\n"
		"    <ChecksumType> sha256 </ChecksumType>\n"
		"    <BlockMap>\n",
		out->report->size, out->granule,
		blocks(out, out->report->size));
}

static int bmap_extent(struct bsp_report_output *out,
		       const struct bsp_extent *extent)
{
	uint64_t first = extent->off / out->granule;
	uint64_t last = first + blocks(out, extent->len) - 1;

	if (extent->type == BSP_EXTENT_HOLE)
		return 0;
	if (first == last)
		return bsp_report_printf(
			out, "        <Range> %" G_GUINT64_FORMAT " </Range>\n",
			first);
	return bsp_report_printf(out,
				 "        <Range> %" G_GUINT64_FORMAT
				 "-%" G_GUINT64_FORMAT " </Range>\n",
				 first, last);
}

/* The checksum covers the map with zeros in its own place. Add the zeros and
 * the text that follows to it, then write it. */
static int bmap_end(struct bsp_report_output *out)
{
	static const char before[] = "    <BmapFileChecksum> ";
	static const char after[] = " </BmapFileChecksum>\n</bmap>\n";
	g_autoptr(GChecksum) checksum = NULL;
	char zeros[CHECKSUM_LEN];
	int r;

	r = bsp_report_printf(out,
			      "    </BlockMap>\n"
			      "    <MappedBlocksCount> %" G_GUINT64_FORMAT
			      " </MappedBlocksCount>\n",
			      blocks(out, out->bytes[BSP_EXTENT_DATA]));
	if (r == 0)
		r = bsp_report_puts(out, before);
	if (r < 0)
		return r;
	memset(zeros, '0', sizeof(zeros));
	checksum = g_steal_pointer(&out->checksum);
	g_checksum_update(checksum, (const guchar *)zeros, sizeof(zeros));
	g_checksum_update(checksum, (const guchar *)after, sizeof(after) - 1);
	r = bsp_report_puts(out, g_checksum_get_string(checksum));
	return r < 0 ? r : bsp_report_puts(out, after);
}

static void bmap_done(struct bsp_report_output *out)
{
	g_clear_pointer(&out->checksum, g_checksum_free);
}

/* bmaptool makes no blocks smaller than a page either. */
const struct bsp_report_format bsp_report_bmap = {
	.name = "bmap",
	.granule = BSP_GRANULE_MIN,
	.needs_content = true,
	.begin = bmap_begin,
	.extent = bmap_extent,
	.end = bmap_end,
	.done = bmap_done,
};
