/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The text format of Prometheus, version 0.0.4, as the textfile collector of
 * node_exporter reads it: all samples of a metric follow its HELP and TYPE. A
 * value of a label is UTF-8, with a backslash before backslashes and quotes and
 * as \n for a line feed.
 */
#include "figures.h"

#define PREFIX "blksparsefs_"

static char *label_value(const char *text)
{
	GString *value = g_string_new(NULL);
	g_autofree char *valid = g_utf8_make_valid(text, -1);

	for (const char *at = valid; *at; at++) {
		if (*at == '\\' || *at == '"')
			g_string_append_c(value, '\\');
		if (*at == '\n')
			g_string_append(value, "\\n");
		else
			g_string_append_c(value, *at);
	}
	return g_string_free(value, false);
}

/* name and value of a label come in pairs, and NULL ends them. */
static char *labels(const char *name, ...) G_GNUC_NULL_TERMINATED;

static char *labels(const char *name, ...)
{
	GString *text = g_string_new("{");
	va_list args;

	va_start(args, name);
	for (; name; name = va_arg(args, const char *)) {
		g_autofree char *value = label_value(va_arg(args, char *));

		g_string_append_printf(text, "%s%s=\"%s\"",
				       text->len > 1 ? "," : "", name, value);
	}
	va_end(args);
	g_string_append_c(text, '}');
	return g_string_free(text, false);
}

static void begin_metric(GString *text, const char *name, bool counts,
			 const char *help)
{
	g_string_append_printf(text,
			       "# HELP " PREFIX "%s %s\n"
			       "# TYPE " PREFIX "%s %s\n",
			       name, help, name, counts ? "counter" : "gauge");
}

/* Calls put() for each file. */
static void for_files(GPtrArray *answers, GString *text,
		      void (*put)(GString *text, const char *path,
				  const struct bsp_ioctl_stat *st,
				  const void *data),
		      const void *data)
{
	for (guint i = 0; i < answers->len; i++) {
		const struct ask_answer *answer = g_ptr_array_index(answers, i);

		for (guint f = 0; f < answer->files->len; f++) {
			const struct bsp_ioctl_stat *st = &g_array_index(
				answer->files, struct bsp_ioctl_stat, f);
			g_autofree char *path = figures_path(answer, st);

			put(text, path, st, data);
		}
	}
}

static void put_figure(GString *text, const char *path,
		       const struct bsp_ioctl_stat *st, const void *data)
{
	const struct figure *figure = data;
	g_autofree char *of = labels("file", path, "device", st->device, NULL);

	g_string_append_printf(text, PREFIX "%s%s %" G_GUINT64_FORMAT "\n",
			       figure->metric, of, figure_of(st, figure));
}

static void put_known(GString *text, const char *path,
		      const struct bsp_ioctl_stat *st, const void *data)
{
	for (unsigned i = 0; i < st->layers; i++) {
		g_autofree char *of = labels("file", path, "device", st->device,
					     "layer", st->layer[i].name, NULL);

		g_string_append_printf(
			text, PREFIX "known_bytes%s %" G_GUINT64_FORMAT "\n",
			of, st->layer[i].zeros);
	}
}

static void put_slowest(GString *text, const char *path,
			const struct bsp_ioctl_stat *st, const void *data)
{
	g_autofree char *of = labels("file", path, "device", st->device, NULL);

	g_string_append_printf(text,
			       PREFIX
			       "slowest_request_seconds%s %" G_GUINT64_FORMAT
			       ".%06" G_GUINT64_FORMAT "\n",
			       of, st->slowest_us / G_USEC_PER_SEC,
			       st->slowest_us % G_USEC_PER_SEC);
}

static void put_mounts(GString *text, GPtrArray *answers)
{
	begin_metric(text, "up", false,
		     "Whether the driver of the mount answered.");
	for (guint i = 0; i < answers->len; i++) {
		const struct ask_answer *answer = g_ptr_array_index(answers, i);
		g_autofree char *of = labels("mount", answer->where, NULL);

		g_string_append_printf(text, PREFIX "up%s %d\n", of,
				       answer->error == NULL);
	}
}

char *figures_prometheus(GPtrArray *answers)
{
	GString *text = g_string_new(NULL);

	put_mounts(text, answers);
	for (size_t i = 0; i < n_figures; i++) {
		begin_metric(text, figures[i].metric, figures[i].counts,
			     figures[i].help);
		for_files(answers, text, put_figure, &figures[i]);
	}
	begin_metric(text, "known_bytes", false,
		     "Bytes of zeros that a layer below knew unread.");
	for_files(answers, text, put_known, NULL);
	begin_metric(text, "slowest_request_seconds", false,
		     "Age of the oldest request in flight; 0: none.");
	for_files(answers, text, put_slowest, NULL);
	return g_string_free(text, false);
}
