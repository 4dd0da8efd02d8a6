/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "figures.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "blksparse-mount.h"
#include "log.h"

static void fill_layers(struct bsp_sparse *sp, struct bsp_ioctl_stat *ret)
{
	struct bsp_known_layer layers[BSP_IOCTL_LAYERS];
	size_t n = bsp_sparse_known_counts(sp, layers, BSP_IOCTL_LAYERS);

	ret->layers = (uint32_t)n;
	for (size_t i = 0; i < n && i < BSP_IOCTL_LAYERS; i++) {
		(void)g_strlcpy(ret->layer[i].name, layers[i].name,
				sizeof(ret->layer[i].name));
		ret->layer[i].zeros = layers[i].zeros;
	}
}

static void fill_map(struct bsp_sparse *sp, struct bsp_ioctl_stat *ret)
{
	struct bsp_stat st;

	(void)bsp_sparse_stat_nowait(sp, &st);
	ret->size = st.size;
	ret->capacity = st.capacity;
	ret->data = st.data;
	ret->hole = st.hole;
	ret->unknown = st.unknown;
	ret->granule = bsp_sparse_granule(sp);
}

static void fill_work(struct bsp_sparse *sp, struct bsp_ioctl_stat *ret)
{
	struct bsp_figures figures;

	bsp_sparse_figures(sp, &figures);
	ret->device_number = figures.device_number;
	ret->device_file_system = figures.file_system;
	ret->device_inode = figures.inode;
	ret->pending = figures.pending;
	ret->read = figures.read;
	ret->written = figures.written;
	ret->zeroed = figures.zeroed;
	ret->saved_seeks = figures.saved_seeks;
	ret->saved_holes = figures.saved_holes;
	ret->saved_zeros = figures.saved_zeros;
	ret->saved_same = figures.saved_same;
	ret->read_errors = figures.read_errors;
	ret->write_errors = figures.write_errors;
	ret->failed_flushes = figures.failed_flushes;
	ret->other_writers = figures.other_writers;
	ret->flags |= figures.gone ? BSP_IOCTL_GONE : 0;
	ret->flags |= figures.distrusted ? BSP_IOCTL_DISTRUSTED : 0;
}

static void fill_requests(struct file *file, struct in_flight *in_flight,
			  struct bsp_ioctl_stat *ret)
{
	struct in_flight_view view = in_flight_of(in_flight, file->ino);

	ret->requests = view.n + gate_waiting(&file->gate);
	if (!view.n)
		return;
	ret->slowest_us = (uint64_t)(view.age_ns / 1000);
	ret->slowest_off = view.off;
	ret->slowest_len = view.len;
	(void)g_strlcpy(ret->slowest, view.op, sizeof(ret->slowest));
}

static void fill(struct file *file, struct in_flight *in_flight,
		 struct bsp_ioctl_stat *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->version = BSP_IOCTL_VERSION;
	ret->flags = file->writable ? BSP_IOCTL_WRITABLE : 0;
	ret->node = file->ino;
	ret->process = (uint64_t)getpid();
	(void)g_strlcpy(ret->name, file->name, sizeof(ret->name));
	(void)g_strlcpy(ret->device, file->path, sizeof(ret->device));
	fill_map(file->sparse, ret);
	fill_layers(file->sparse, ret);
	fill_work(file->sparse, ret);
	fill_requests(file, in_flight, ret);
}

/* A search for one file among those whose device is open. */
struct search {
	fuse_ino_t ino; /* 0: any */
	uint32_t index;
	struct in_flight *in_flight;
	struct bsp_ioctl_stat *ret;
	uint32_t n; /* files passed so far */
	bool found;
};

static void fill_if_found(struct file *file, void *data)
{
	struct search *search = data;

	if (search->ino ? search->ino == file->ino && search->index == 0
			: search->index == search->n) {
		fill(file, search->in_flight, search->ret);
		search->found = true;
	}
	search->n++;
}

bool figures_fill(const struct tree *tree, fuse_ino_t ino,
		  struct in_flight *in_flight, struct bsp_ioctl_stat *ret)
{
	struct search search = {
		.ino = ino,
		.index = ret->index,
		.in_flight = in_flight,
		.ret = ret,
	};

	tree_each(tree, fill_if_found, &search);
	ret->index = search.index;
	ret->files = search.n;
	return search.found;
}

/* --- The log ------------------------------------------------------------- */

/* Appends " name=value". */
static void add(GString *line, const char *name, uint64_t value)
{
	g_string_append_printf(line, " %s=%" G_GUINT64_FORMAT, name, value);
}

/* The names are those of blksparse stat --json. */
static void log_file(const struct bsp_ioctl_stat *st)
{
	g_autoptr(GString) line = g_string_new(st->name);

	g_string_append_c(line, ':');
	add(line, "size", st->size);
	add(line, "data", st->data);
	add(line, "hole", st->hole);
	add(line, "unknown", st->unknown);
	add(line, "pending", st->pending);
	for (uint32_t i = 0; i < MIN(st->layers, BSP_IOCTL_LAYERS); i++)
		add(line, "known", st->layer[i].zeros);
	add(line, "read", st->read);
	add(line, "written", st->written);
	add(line, "zeroed", st->zeroed);
	add(line, "saved_seeks", st->saved_seeks);
	add(line, "saved_holes", st->saved_holes);
	add(line, "saved_zeros", st->saved_zeros);
	add(line, "saved_same", st->saved_same);
	add(line, "read_errors", st->read_errors);
	add(line, "write_errors", st->write_errors);
	add(line, "failed_flushes", st->failed_flushes);
	add(line, "other_writers", st->other_writers);
	add(line, "requests", st->requests);
	if (st->slowest[0])
		g_string_append_printf(line,
				       " slowest=%s off=%" G_GUINT64_FORMAT
				       " len=%" G_GUINT64_FORMAT
				       " us=%" G_GUINT64_FORMAT,
				       st->slowest, st->slowest_off,
				       st->slowest_len, st->slowest_us);
	log_line(LOG_NOTICE, "%s", line->str);
}

static void log_figures(struct file *file, void *data)
{
	struct bsp_ioctl_stat st;

	fill(file, data, &st);
	log_file(&st);
}

void figures_log(const struct tree *tree, struct in_flight *in_flight)
{
	tree_each(tree, log_figures, in_flight);
}
