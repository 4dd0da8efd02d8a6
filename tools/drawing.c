/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drawing.h"

#include "terminal.h"

bool drawing_is_for(enum bsp_format format)
{
	return format == BSP_FORMAT_PLOT || format == BSP_FORMAT_SVG ||
	       format == BSP_FORMAT_PNG;
}

static void free_mark(void *data)
{
	struct bsp_mark *mark = data;

	g_free((char *)mark->name);
	g_free((char *)mark->text);
}

void drawing_init(struct drawing *drawing, const char *path)
{
	drawing->marks = g_array_new(false, false, sizeof(struct bsp_mark));
	g_array_set_clear_func(drawing->marks, free_mark);
	marks_find(drawing->marks, path);
	drawing->how = (struct bsp_drawing){
		.marks = (struct bsp_mark *)drawing->marks->data,
		.n_marks = drawing->marks->len,
		.columns = terminal_columns(),
		.ascii = !terminal_is_utf8(),
		.colour = terminal_has_colours(),
	};
}

void drawing_clear(struct drawing *drawing)
{
	g_clear_pointer(&drawing->marks, g_array_unref);
}
