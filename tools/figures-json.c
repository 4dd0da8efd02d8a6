/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Increase VERSION with each change that can break a reader; a new member is no
 * such change.
 */
#include <string.h>

#include "figures.h"
#include "summary.h"

enum { VERSION = 1 };

static void put_bool(JsonBuilder *builder, const char *name, bool value)
{
	json_builder_set_member_name(builder, name);
	json_builder_add_boolean_value(builder, value);
}

static void put_known(JsonBuilder *builder, const struct bsp_ioctl_stat *st)
{
	json_builder_set_member_name(builder, "known");
	json_builder_begin_array(builder);
	for (unsigned i = 0; i < st->layers; i++) {
		json_builder_begin_object(builder);
		summary_text(builder, "layer", st->layer[i].name);
		summary_number(builder, "bytes", st->layer[i].zeros);
		json_builder_end_object(builder);
	}
	json_builder_end_array(builder);
}

static void put_slowest(JsonBuilder *builder, const struct bsp_ioctl_stat *st)
{
	json_builder_set_member_name(builder, "slowest");
	if (!st->slowest[0]) {
		json_builder_add_null_value(builder);
		return;
	}
	json_builder_begin_object(builder);
	summary_text(builder, "op", st->slowest);
	summary_number(builder, "off", st->slowest_off);
	summary_number(builder, "len", st->slowest_len);
	summary_number(builder, "us", st->slowest_us);
	json_builder_end_object(builder);
}

static void put_file(JsonBuilder *builder, const struct ask_answer *answer,
		     const struct bsp_ioctl_stat *st)
{
	g_autofree char *path = figures_path(answer, st);

	json_builder_begin_object(builder);
	summary_text(builder, "file", path);
	summary_text(builder, "device", st->device);
	put_bool(builder, "writable", st->flags & BSP_IOCTL_WRITABLE);
	put_bool(builder, "lost", st->flags & BSP_IOCTL_GONE);
	put_bool(builder, "distrusted", st->flags & BSP_IOCTL_DISTRUSTED);
	summary_number(builder, "granule", st->granule);
	for (size_t i = 0; i < n_figures; i++)
		summary_number(builder, figures[i].name,
			       figure_of(st, &figures[i]));
	put_known(builder, st);
	put_slowest(builder, st);
	json_builder_end_object(builder);
}

static void put_answer(JsonBuilder *builder, const struct ask_answer *answer)
{
	json_builder_begin_object(builder);
	summary_text(builder, "mount", answer->where);
	summary_text(builder, "error", answer->error);
	json_builder_set_member_name(builder, "files");
	json_builder_begin_array(builder);
	for (guint i = 0; i < answer->files->len; i++)
		put_file(builder, answer,
			 &g_array_index(answer->files, struct bsp_ioctl_stat,
					i));
	json_builder_end_array(builder);
	json_builder_end_object(builder);
}

char *figures_json(GPtrArray *answers)
{
	g_autoptr(JsonBuilder) builder = json_builder_new();
	g_autoptr(JsonGenerator) generator = json_generator_new();
	g_autofree char *line = NULL;
	JsonNode *root;

	json_builder_begin_object(builder);
	summary_text(builder, "format", "blksparse-stat");
	summary_number(builder, "version", VERSION);
	json_builder_set_member_name(builder, "mounts");
	json_builder_begin_array(builder);
	for (guint i = 0; i < answers->len; i++)
		put_answer(builder, g_ptr_array_index(answers, i));
	json_builder_end_array(builder);
	json_builder_end_object(builder);
	root = json_builder_get_root(builder);
	json_generator_set_root(generator, root);
	json_node_unref(root);
	line = json_generator_to_data(generator, NULL);
	return g_strconcat(line, "\n", NULL);
}
