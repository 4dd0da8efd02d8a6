/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The figures of files as text. Each function takes an array of struct
 * ask_answer * and returns a text, to be freed by g_free().
 */
#ifndef FIGURES_H
#define FIGURES_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ask.h"

/* A table with a line for each file. */
char *figures_table(GPtrArray *answers);

/* All figures of each file, a paragraph each. */
char *figures_list(GPtrArray *answers);

/* One line of JSON. */
char *figures_json(GPtrArray *answers);

/* The text format of Prometheus. */
char *figures_prometheus(GPtrArray *answers);

/* --- For these functions ------------------------------------------------- */

/* A number among the figures. */
struct figure {
	const char *name; /* in JSON */
	size_t offset;	  /* of the uint64_t in struct bsp_ioctl_stat */
	const char *metric;
	bool counts; /* it only grows while the file is mounted */
	const char *help;
};

extern const struct figure figures[];
extern const size_t n_figures;

uint64_t figure_of(const struct bsp_ioctl_stat *st,
		   const struct figure *figure);

/* Returns the path of a file; to be freed by g_free(). */
char *figures_path(const struct ask_answer *answer,
		   const struct bsp_ioctl_stat *st);

#endif
