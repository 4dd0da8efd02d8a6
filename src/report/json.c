/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The project's own JSON format for programs, documented in blksparse-map(1).
 *
 * Increase VERSION with each change that can break a reader; a new key is no
 * such change. Keys have a fixed order, and the totals come last.
 *
 * The text is written here, one extent a line, because a json-glib tree of ten
 * million extents would take gigabytes. json-glib only quotes the path, which
 * may hold any bytes; bytes that are no UTF-8 become U+FFFD, since JSON is
 * UTF-8.
 */
#include "report/report.h"

#include <json-glib/json-glib.h>

enum { VERSION = 1 };

static char *quoted(const char *path)
{
	g_autoptr(JsonNode) node = json_node_new(JSON_NODE_VALUE);
	g_autofree char *utf8 = g_utf8_make_valid(path, -1);

	json_node_set_string(node, utf8);
	return json_to_string(node, false);
}

/* Writes the path, and that of the other object of differences. */
static int put_paths(struct bsp_report_output *out)
{
	g_autofree char *path = quoted(out->report->path);
	g_autofree char *other = NULL;
	int r = bsp_report_puts(out, path);

	if (r < 0 || !out->report->other)
		return r;
	other = quoted(out->report->other);
	r = bsp_report_puts(out, ",\n  \"other\": ");
	return r < 0 ? r : bsp_report_puts(out, other);
}

static int json_begin(struct bsp_report_output *out)
{
	int r;

	r = bsp_report_printf(out,
			      "{\n"
			      "  \"format\": \"blksparse-%s\",\n"
			      "  \"version\": %d,\n"
			      "  \"path\": ",
			      out->report->other ? "diff" : "map", VERSION);
	if (r == 0)
		r = put_paths(out);
	if (r == 0)
		r = bsp_report_printf(out,
				      ",\n"
				      "  \"size\": %" G_GUINT64_FORMAT ",\n"
				      "  \"granule\": %" G_GUINT32_FORMAT ",\n",
				      out->report->size, out->granule);
	if (r == 0 && !out->report->summary)
		r = bsp_report_puts(out, "  \"extents\": [");
	return r;
}

static int json_extent(struct bsp_report_output *out,
		       const struct bsp_extent *extent)
{
	return bsp_report_printf(
		out,
		"%s\n    { \"start\": %" G_GUINT64_FORMAT
		", \"length\": %" G_GUINT64_FORMAT ", \"type\": \"%s\" }",
		bsp_report_at_first(out) ? "" : ",", extent->off, extent->len,
		bsp_report_type_name(out, extent->type));
}

static int put_total(struct bsp_report_output *out, enum bsp_extent_type type,
		     const char *end)
{
	return bsp_report_printf(out,
				 "    \"%s\": { \"bytes\": %" G_GUINT64_FORMAT
				 ", \"extents\": %" G_GUINT64_FORMAT " }%s\n",
				 bsp_report_type_name(out, type),
				 out->bytes[type], out->extents[type], end);
}

static int put_layer(struct bsp_report_output *out,
		     const struct bsp_known_layer *layer, bool first)
{
	g_autofree char *name = quoted(layer->name);
	g_autofree char *reason =
		layer->reason ? quoted(layer->reason) : g_strdup("null");
	g_autofree char *line = g_strdup_printf(
		"%s\n    { \"layer\": %s, \"bytes\": %" G_GUINT64_FORMAT
		", \"reason\": %s }",
		first ? "" : ",", name, layer->zeros, reason);

	return bsp_report_puts(out, line);
}

static int put_layers(struct bsp_report_output *out)
{
	const struct bsp_report *report = out->report;
	int r = bsp_report_puts(out, "  \"known\": [");

	for (uint64_t i = 0; r == 0 && i < report->n_layers; i++)
		r = put_layer(out, &report->layers[i], i == 0);
	if (r == 0)
		r = bsp_report_puts(out,
				    report->n_layers ? "\n  ],\n" : "],\n");
	if (r == 0)
		r = bsp_report_printf(out,
				      "  \"read\": %" G_GUINT64_FORMAT ",\n",
				      report->bytes_read);
	return r;
}

static int json_end(struct bsp_report_output *out)
{
	int r = 0;

	if (!out->report->summary)
		r = bsp_report_puts(out, bsp_report_at_first(out) ? "],\n"
								  : "\n  ],\n");
	if (r == 0 && out->report->layers)
		r = put_layers(out);
	if (r == 0)
		r = bsp_report_puts(out, "  \"totals\": {\n");
	if (r == 0)
		r = put_total(out, BSP_EXTENT_DATA, ",");
	if (r == 0)
		r = put_total(out, BSP_EXTENT_HOLE,
			      out->report->other ? "" : ",");
	if (r == 0 && !out->report->other)
		r = put_total(out, BSP_EXTENT_UNKNOWN, "");
	return r < 0 ? r : bsp_report_puts(out, "  }\n}\n");
}

const struct bsp_report_format bsp_report_json = {
	.name = "json",
	.granule = 1,
	.has_summary = true,
	.tells_unknown = true,
	.skips_same = true,
	.begin = json_begin,
	.extent = json_extent,
	.end = json_end,
};
