/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writing a report: from a source of extents to the calls of a format.
 *
 * A source gives adjacent extents of any length. A format needs extents at
 * multiples of the granule (bmaptool drops the tail of others), as few as
 * possible, that cover [0, size) exactly. So each extent is made to start at
 * the end of the previous one that was passed on, and its end is rounded: up
 * for data, down for a hole. Data grows at both ends, and no byte of it is
 * ever called a hole:
 *
 *	granules	|       |       |       |       |
 *	source		 hole       data     hole
 *	given		 hole   data    data    hole
 *
 * An extent may vanish by this. Adjacent extents of one type are merged, so an
 * extent is pending until one of another type follows.
 */
#include "report/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/range.h"

static const struct bsp_report_format *const formats[] = {
	[BSP_FORMAT_TABLE] = &bsp_report_table,
	[BSP_FORMAT_JSON] = &bsp_report_json,
	[BSP_FORMAT_QEMU] = &bsp_report_qemu,
	[BSP_FORMAT_BMAP] = &bsp_report_bmap,
	[BSP_FORMAT_DDRESCUE] = &bsp_report_ddrescue,
	[BSP_FORMAT_PLOT] = &bsp_report_plot,
	[BSP_FORMAT_SVG] = &bsp_report_svg,
	[BSP_FORMAT_PNG] = &bsp_report_png,
};

static bool fail_unknown(const char *name, GError **error)
{
	g_autoptr(GString) known = g_string_new(NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
		g_string_append_printf(known, "%s%s", i ? ", " : "",
				       formats[i]->name);
	return bsp_error_set(error, BSP_ERROR_USAGE,
			     "there is no report format '%s' (%s)", name,
			     known->str);
}

bool bsp_format_from_name(const char *name, enum bsp_format *ret_format,
			  GError **error)
{
	for (size_t i = 0; i < G_N_ELEMENTS(formats); i++) {
		if (strcmp(name, formats[i]->name) == 0) {
			if (formats[i]->load && !formats[i]->load(error))
				return false;
			*ret_format = (enum bsp_format)i;
			return true;
		}
	}
	return fail_unknown(name, error);
}

const char *bsp_report_type_name(const struct bsp_report_output *out,
				 enum bsp_extent_type type)
{
	static const char *const names[] = {
		[BSP_EXTENT_DATA] = "data",
		[BSP_EXTENT_HOLE] = "hole",
		[BSP_EXTENT_UNKNOWN] = "unknown",
	};

	if (out->report->other)
		return type == BSP_EXTENT_HOLE ? "same" : "differs";
	return names[type];
}

bool bsp_report_at_first(const struct bsp_report_output *out)
{
	if (out->report->other)
		return out->extents[BSP_EXTENT_DATA] == 0;
	return out->extents[BSP_EXTENT_DATA] == 0 &&
	       out->extents[BSP_EXTENT_HOLE] == 0 &&
	       out->extents[BSP_EXTENT_UNKNOWN] == 0;
}

bool bsp_report_tells(const struct bsp_report_output *out,
		      enum bsp_extent_type type)
{
	return type <= BSP_EXTENT_HOLE || out->extents[type];
}

const struct bsp_drawing *bsp_report_drawing(const struct bsp_report *report)
{
	static const struct bsp_drawing none;

	return report->drawing ? report->drawing : &none;
}

/* --- Text --------------------------------------------------------------- */

static int put(struct bsp_report_output *out, const char *text, size_t len)
{
	if (out->checksum)
		g_checksum_update(out->checksum, (const guchar *)text,
				  (gssize)len);
	return out->write(out->data, text, len);
}

int bsp_report_puts(struct bsp_report_output *out, const char *text)
{
	return put(out, text, strlen(text));
}

int bsp_report_printf(struct bsp_report_output *out, const char *format, ...)
{
	char line[256];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(line))
		return -EOVERFLOW;
	return put(out, line, (size_t)len);
}

/* --- Extents ------------------------------------------------------------ */

struct walk {
	struct bsp_report_output *out;
	const struct bsp_report_format *writer;
	unsigned shift;		   /* log2 of the granule */
	struct bsp_extent pending; /* aligned, not written yet; len may be 0 */
};

static int write_pending(struct walk *walk)
{
	const struct bsp_extent *extent = &walk->pending;
	struct bsp_report_output *out = walk->out;
	bool is_same = out->report->other && extent->type == BSP_EXTENT_HOLE;
	int r = 0;

	if (extent->len == 0)
		return 0;
	if (!out->report->summary && !(is_same && walk->writer->skips_same))
		r = walk->writer->extent(out, extent);
	out->bytes[extent->type] += extent->len;
	out->extents[extent->type]++;
	return r;
}

/* Adds [end of the pending extent, end), of type. */
static int append(struct walk *walk, uint64_t end, enum bsp_extent_type type)
{
	struct bsp_extent *pending = &walk->pending;
	uint64_t cursor = pending->off + pending->len;
	int r;

	if (end <= cursor)
		return 0;
	if (pending->type != type) {
		r = write_pending(walk);
		if (r < 0)
			return r;
		pending->off = cursor;
		pending->type = type;
	}
	pending->len = end - pending->off;
	return 0;
}

static int append_rounded(struct walk *walk, const struct bsp_extent *extent)
{
	uint64_t size = walk->out->report->size;
	uint64_t end = bsp_min(bsp_add_sat(extent->off, extent->len), size);
	enum bsp_extent_type type = extent->type;

	if (type == BSP_EXTENT_UNKNOWN && !walk->writer->tells_unknown)
		type = BSP_EXTENT_DATA;
	if (type != BSP_EXTENT_HOLE)
		end = bsp_min(bsp_align_up(end, walk->shift), size);
	else if (end < size)
		end = bsp_align_down(end, walk->shift);
	return append(walk, end, type);
}

static int write_extents(struct bsp_report_output *out,
			 const struct bsp_report_format *writer)
{
	const struct bsp_report *report = out->report;
	struct walk walk = { .out = out, .writer = writer };
	struct bsp_extent extent;
	uint64_t off = 0;
	int r;

	while (out->granule >> walk.shift > 1)
		walk.shift++;
	while (off < report->size) {
		r = report->source.extent(report->source.data, off, &extent);
		if (r < 0)
			return r;
		if (r == 0)
			return -ENODATA;
		if (extent.off != off || extent.len == 0)
			return -EPROTO;
		r = append_rounded(&walk, &extent);
		if (r < 0)
			return r;
		off = bsp_add_sat(off, extent.len);
	}
	return write_pending(&walk);
}

static bool granule_is_valid(uint32_t granule)
{
	return granule > 0 && (granule & (granule - 1)) == 0;
}

int bsp_report_write(const struct bsp_report *report, enum bsp_format format,
		     bsp_write_fn write, void *data)
{
	const struct bsp_report_format *writer = formats[format];
	struct bsp_report_output out = {
		.report = report,
		.granule = report->granule ? report->granule : writer->granule,
		.write = write,
		.data = data,
	};
	int r;

	if (!bsp_error_check_reserved(report->reserved,
				      G_N_ELEMENTS(report->reserved), NULL) ||
	    !granule_is_valid(out.granule) ||
	    (report->summary && !writer->has_summary) ||
	    (report->size == 0 && writer->needs_content))
		return -EINVAL;
	r = writer->begin(&out);
	if (r == 0)
		r = write_extents(&out, writer);
	if (r == 0)
		r = writer->end(&out);
	if (writer->done)
		writer->done(&out);
	return r;
}
