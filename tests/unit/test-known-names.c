/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A tree of layers gets its paths, and is listed part by part. */
#include "device/known.h"

#include "unit.h"

enum { BELOW_MAX = 4 };

/* A layer with others below it; one without a layer has the type error. */
struct node {
	struct bsp_layer layer;
	struct node *below[BELOW_MAX];
	unsigned n;
};

static bool node_below(struct bsp_layer *layer, unsigned i,
		       struct bsp_layer_below *ret_below)
{
	struct node *node = (struct node *)layer;

	if (i >= node->n)
		return false;
	*ret_below = (struct bsp_layer_below){
		.layer = node->below[i] ? &node->below[i]->layer : NULL,
		.type = "error",
	};
	return true;
}

static const struct bsp_layer_ops file_ops = { .answers = true };
static const struct bsp_layer_ops parts_ops = { .below = node_below };
static const struct bsp_layer_ops thin_ops = { .below = node_below,
					       .answers = true };

/* A bsp_layer_fn. */
static void add_line(void *data, const char *path, const char *reason)
{
	g_string_append_printf(data, "%s: %s\n", path,
			       reason ? reason : "asked");
}

static void assert_list(struct node *top, const char *expected)
{
	g_autoptr(GPtrArray) layers = bsp_layers_new();
	g_autoptr(GString) text = g_string_new(NULL);

	bsp_layer_set_paths(&top->layer, NULL);
	bsp_layers_add(layers, &top->layer);
	bsp_layers_list(layers, add_line, text);
	assert_string_equal(text->str, expected);
}

static void each_part_is_listed_once(void **state)
{
	struct node a = { { &file_ops, (char *)"a.img (ext4)" } };
	struct node b = { { &file_ops, (char *)"b.img (XFS)" } };
	struct node a2 = a;
	struct node top = { { &parts_ops, (char *)"dm-0" },
			    { &a, NULL, &b, &a2 },
			    4 };

	assert_list(&top, "dm-0 → a.img (ext4): asked\n"
			  "dm-0: nothing is known of the target error\n"
			  "dm-0 → b.img (XFS): asked\n");
	/* An answer of either part counts for the same layer. */
	assert_ptr_equal(a.layer.path, a2.layer.path);
}

static void a_layer_that_answers_is_listed_with_its_origin(void **state)
{
	struct node file = { { &file_ops, (char *)"a.img (ext4)" } };
	struct node loop = { { &parts_ops, (char *)"loop1" }, { &file }, 1 };
	struct node top = { { &thin_ops, (char *)"thin" }, { &loop }, 1 };

	assert_list(&top, "thin: asked\n"
			  "thin → loop1 → a.img (ext4): asked\n");
}

static void a_files_name_has_no_control_characters(void **state)
{
	g_autofree char *name =
		bsp_layer_file_name("/folder/a\nb\033.img", "ext4");

	assert_string_equal(name, "a?b?.img (ext4)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_part_is_listed_once),
		cmocka_unit_test(
			a_layer_that_answers_is_listed_with_its_origin),
		cmocka_unit_test(a_files_name_has_no_control_characters),
	};

	return cmocka_run_group_tests_name("known-names", tests, NULL, NULL);
}
