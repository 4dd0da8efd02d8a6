/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * From a source of extents to a report.
 *
 * A source gives extents that start where the one before ended, of any length;
 * a format wants them at multiples of the granule (bmaptool drops the tail of
 * others), as few as possible, and covering [0, size) exactly. In between each
 * extent is made to start where the last one handed on ended, the cursor, and
 * its end is rounded: up if it is data, down if it is a hole, so that data
 * grows at both ends and no byte of it is ever called a hole:
 *
 *	granules	|       |       |       |       |
 *	source		 hole       data     hole
 *	given		 hole   data    data    hole
 *
 * What is left of an extent then may be nothing. Neighbours of one type become
 * one, so a format gets an extent when the next one is of another type.
 */
#include "report/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/range.h"

static const struct bsp_report_format *const exporters[] = {
	[BSP_FORMAT_TABLE] = &bsp_report_table,
	[BSP_FORMAT_JSON] = &bsp_report_json,
	[BSP_FORMAT_QEMU] = &bsp_report_qemu,
	[BSP_FORMAT_BMAP] = &bsp_report_bmap,
	[BSP_FORMAT_DDRESCUE] = &bsp_report_ddrescue,
};

bool bsp_format_from_name(const char *name, enum bsp_format *ret_format,
			  GError **error)
{
	for (size_t i = 0; i < G_N_ELEMENTS(exporters); i++) {
		if (strcmp(name, exporters[i]->name) != 0)
			continue;
		*ret_format = (enum bsp_format)i;
		return true;
	}
	return bsp_error_set(error, BSP_ERROR_USAGE,
			     "'%s' is not a format; there are table, json, "
			     "qemu, bmap and ddrescue",
			     name);
}

const char *bsp_extent_type_name(enum bsp_extent_type type)
{
	static const char *const names[] = {
		[BSP_EXTENT_DATA] = "data",
		[BSP_EXTENT_HOLE] = "hole",
		[BSP_EXTENT_UNKNOWN] = "unknown",
	};

	return names[type];
}

bool bsp_report_at_first(const struct bsp_report_output *ex)
{
	return ex->extents[BSP_EXTENT_DATA] == 0 &&
	       ex->extents[BSP_EXTENT_HOLE] == 0 &&
	       ex->extents[BSP_EXTENT_UNKNOWN] == 0;
}

/* --- Text --------------------------------------------------------------- */

static int put(struct bsp_report_output *ex, const char *text, size_t len)
{
	if (ex->checksum)
		g_checksum_update(ex->checksum, (const guchar *)text,
				  (gssize)len);
	return ex->write(ex->data, text, len);
}

int bsp_report_puts(struct bsp_report_output *ex, const char *text)
{
	return put(ex, text, strlen(text));
}

int bsp_report_printf(struct bsp_report_output *ex, const char *format, ...)
{
	char line[256];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(line))
		return -EOVERFLOW;
	return put(ex, line, (size_t)len);
}

/* --- Extents ------------------------------------------------------------ */

struct walk {
	struct bsp_report_output *ex;
	const struct bsp_report_format *exporter;
	unsigned shift;		   /* log2 of the granule */
	struct bsp_extent pending; /* aligned, not given yet; len may be 0 */
};

static int give_pending(struct walk *walk)
{
	const struct bsp_extent *extent = &walk->pending;
	struct bsp_report_output *ex = walk->ex;
	int r = 0;

	if (extent->len == 0)
		return 0;
	if (!ex->report->summary)
		r = walk->exporter->extent(ex, extent);
	ex->bytes[extent->type] += extent->len;
	ex->extents[extent->type]++;
	return r;
}

/* Adds [end of pending, end), of type. */
static int give(struct walk *walk, uint64_t end, enum bsp_extent_type type)
{
	struct bsp_extent *pending = &walk->pending;
	uint64_t cursor = pending->off + pending->len;
	int r;

	if (end <= cursor)
		return 0;
	if (pending->type != type) {
		r = give_pending(walk);
		if (r < 0)
			return r;
		pending->off = cursor;
		pending->type = type;
	}
	pending->len = end - pending->off;
	return 0;
}

static int take(struct walk *walk, const struct bsp_extent *extent)
{
	uint64_t size = walk->ex->report->size;
	uint64_t end = bsp_min(bsp_add_sat(extent->off, extent->len), size);
	enum bsp_extent_type type = extent->type;

	if (type == BSP_EXTENT_UNKNOWN && !walk->exporter->tells_unknown)
		type = BSP_EXTENT_DATA;
	if (type != BSP_EXTENT_HOLE)
		end = bsp_min(bsp_align_up(end, walk->shift), size);
	else if (end < size)
		end = bsp_align_down(end, walk->shift);
	return give(walk, end, type);
}

static int give_extents(struct bsp_report_output *ex,
			const struct bsp_report_format *exporter)
{
	const struct bsp_report *report = ex->report;
	struct walk walk = { .ex = ex, .exporter = exporter };
	struct bsp_extent extent;
	uint64_t off = 0;
	int r;

	while (ex->granule >> walk.shift > 1)
		walk.shift++;
	while (off < report->size) {
		r = report->extent(report->source, off, &extent);
		if (r < 0)
			return r;
		if (r == 0)
			return -ENODATA;
		if (extent.off != off || extent.len == 0)
			return -EPROTO;
		r = take(&walk, &extent);
		if (r < 0)
			return r;
		off = bsp_add_sat(off, extent.len);
	}
	return give_pending(&walk);
}

static bool granule_ok(uint32_t granule)
{
	return granule > 0 && (granule & (granule - 1)) == 0;
}

int bsp_report_write(const struct bsp_report *report, enum bsp_format format,
		     bsp_write_fn write, void *data)
{
	const struct bsp_report_format *exporter = exporters[format];
	struct bsp_report_output ex = {
		.report = report,
		.granule =
			report->granule ? report->granule : exporter->granule,
		.write = write,
		.data = data,
	};
	int r;

	if (!granule_ok(ex.granule) ||
	    (report->summary && !exporter->has_summary) ||
	    (report->size == 0 && exporter->needs_content))
		return -EINVAL;
	r = exporter->begin(&ex);
	if (r == 0)
		r = give_extents(&ex, exporter);
	if (r == 0)
		r = exporter->end(&ex);
	if (exporter->done)
		exporter->done(&ex);
	return r;
}
