/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparse map: reports which parts of a device or a file are data or zeros.
 *
 * A block device is scanned completely before the first line of the report is
 * written, so that all lines show one state. A regular file is walked by
 * lseek(), and each extent is written as it is found: nothing has to be kept,
 * however many extents the file has.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blksparse-mount.h"
#include "blksparse.h"
#include "command.h"
#include "drawing.h"
#include "interrupt.h"
#include "layers.h"
#include "message.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "report-options.h"
#include "verify.h"

/* A walk that is faster than this shows no progress. */
enum { FILE_DELAY_MS = 1000 };

static gboolean opt_verbose, opt_verify;
static char **opt_paths;
static struct drawing drawing;

static const GOptionEntry entries[] = {
	{ "granule", 0, 0, G_OPTION_ARG_CALLBACK, option_granule,
	  "Unit of data and holes: a power of two, 4K to 1M", "SIZE" },
	{ "known", 0, 0, G_OPTION_ARG_CALLBACK, option_known,
	  "Ask lower layers for holes: auto (default), all or off", "LAYERS" },
	{ "verbose", 0, 0, G_OPTION_ARG_NONE, &opt_verbose,
	  "Tell which layers below knew holes, and how much was read", NULL },
	{ "verify", 0, 0, G_OPTION_ARG_NONE, &opt_verify,
	  "Read the holes again, and check that they are zeros", NULL },
	{ G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &opt_paths,
	  NULL, "PATH" },
	{ 0 },
};

/* --- Devices and files -------------------------------------------------- */

/* A source of extents whose holes are counted. */
struct holes {
	struct bsp_extent_source source;
	uint64_t bytes;
};

/* A bsp_extent_fn. */
static int count_holes(void *data, uint64_t off, struct bsp_extent *ret_extent)
{
	struct holes *holes = data;
	int r = holes->source.extent(holes->source.data, off, ret_extent);

	if (r > 0 && ret_extent->type == BSP_EXTENT_HOLE)
		holes->bytes += ret_extent->len;
	return r;
}

/* Reports why the extents of path cannot be read. */
static int fail_reading(const char *path, int r)
{
	if (r == -ECANCELED)
		return failure("%s: interrupted", path);
	if (r == -ENODATA)
		return failure("%s: shrank while it was read; try again", path);
	if (r == -ENOTCONN)
		return failure("%s: the connection to its server was lost; "
			       "check the server, and try again",
			       path);
	return failure("%s: %s", path, g_strerror(-r));
}

static int write_report(struct bsp_report *report, struct progress *progress)
{
	struct output out = { .progress = progress };
	int r;

	if (drawing.marks)
		report->drawing = &drawing.how;
	r = bsp_report_write(report, opt_format, output_write, &out);
	if (r == 0)
		output_finish(&out);
	progress_clear(progress);
	if (out.error < 0)
		return output_failure(&out);
	return r < 0 ? fail_reading(report->path, r) : STATUS_OK;
}

/* --- Devices ------------------------------------------------------------ */

struct scan {
	struct bsp_sparse *sp;
	struct progress progress;
	struct changes changes;
};

static void scan_progress(void *data, const struct bsp_progress *now)
{
	struct scan *scan = data;
	struct bsp_stat found;

	(void)bsp_sparse_stat_nowait(scan->sp, &found);
	progress_update_parts(&scan->progress, now->done, now->size, found.data,
			      found.hole);
}

/* Writes the report even if another program wrote during the scan: a partition
 * shares its counters with the whole disk, which may never be at rest. */
static int report_scanned(struct bsp_sparse *sp, const char *path,
			  struct scan *scan)
{
	struct holes holes = { .source = bsp_sparse_extent_source(sp) };
	struct layers layers;
	struct bsp_report report = {
		.path = path,
		.size = bsp_sparse_size(sp),
		.granule = bsp_sparse_granule(sp),
		.source = { count_holes, &holes },
		.summary = opt_summary,
	};
	int status;

	layers_take(&layers, sp);
	report.layers = (struct bsp_known_layer *)layers.known->data;
	report.n_layers = layers.known->len;
	report.bytes_read = layers.read;
	status = write_report(&report, &scan->progress);
	if (status == STATUS_OK && opt_verbose)
		layers_print(&layers, path);
	layers_free(&layers);
	warn_of_false_zeros(sp);
	if (status == STATUS_OK && opt_verify)
		status = verify_holes(sp, holes.source, path, holes.bytes,
				      opt_verbose);
	bsp_sparse_refresh(sp);
	if (status == STATUS_OK)
		warn_of_changes(&scan->changes, path,
				"the report may be out of date there");
	return status;
}

static int map_sparse(struct bsp_sparse *sp, const char *path)
{
	struct scan scan = { .sp = sp };
	int r;

	progress_begin(&scan.progress, 0, false);
	progress_count_reads(&scan.progress, sp);
	bsp_sparse_set_changed(sp, note_change, &scan.changes);
	r = bsp_sparse_scan(sp, 0, UINT64_MAX, interrupted, scan_progress,
			    &scan);
	progress_clear(&scan.progress);
	return r < 0 ? fail_reading(path, r) : report_scanned(sp, path, &scan);
}

static int map_device(const char *path)
{
	const struct bsp_sparse_options options = {
		.unshared = true,
		.granule = opt_granule,
		.known = opt_known,
	};
	g_autoptr(GError) error = NULL;
	g_autofree char *shown = bsp_nbd_uri_redact(path);
	struct bsp_device *dev = bsp_device_open(path, &error);
	struct bsp_sparse *sp = bsp_sparse_new(dev, &options, &error);
	int status;

	if (!sp)
		return failure_of(error);
	status = map_sparse(sp, shown);
	bsp_sparse_free(sp);
	return status;
}

/* --- Files -------------------------------------------------------------- */

struct walk {
	struct progress progress;
	uint64_t size;
	int fd;
};

static int walk_extent(void *data, uint64_t off, struct bsp_extent *ret_extent)
{
	struct walk *walk = data;
	int r;

	progress_update(&walk->progress, off, walk->size);
	r = interrupted(NULL) ? -ECANCELED
			      : bsp_file_extent(walk->fd, off, ret_extent);
	return r == -EINTR ? -ECANCELED : r;
}

/* Its file system knew all holes, and nothing was read. */
static void print_file_layer(struct bsp_sparse *sp, const char *path,
			     uint64_t holes)
{
	struct layers layers;

	layers_take(&layers, sp);
	if (layers.known->len)
		g_array_index(layers.known, struct bsp_known_layer, 0).zeros =
			holes;
	layers_print(&layers, path);
	layers_free(&layers);
}

static int map_opened(int fd, const char *path, uint64_t size,
		      struct bsp_sparse *sp)
{
	struct walk walk = { .fd = fd, .size = size };
	struct holes holes = { .source = { walk_extent, &walk } };
	struct bsp_report report = {
		.path = path,
		.size = size,
		.granule = opt_granule,
		.source = { count_holes, &holes },
		.summary = opt_summary,
	};
	int status;

	if (size == 0 && opt_format == BSP_FORMAT_BMAP)
		return failure("%s: is empty, which a bmap cannot say", path);
	progress_begin(&walk.progress, FILE_DELAY_MS, false);
	walk.progress.without_rate = true;
	status = write_report(&report, &walk.progress);
	walk.progress.enabled = false;
	if (status == STATUS_OK && sp && opt_verbose)
		print_file_layer(sp, path, holes.bytes);
	if (status == STATUS_OK && sp && opt_verify)
		status = verify_holes(sp, holes.source, path, holes.bytes,
				      opt_verbose);
	return status;
}

/* Opens a file as if it were a device: to read its holes, and to name its file
 * system. */
static struct bsp_sparse *open_file(const char *path, GError **error)
{
	const struct bsp_sparse_options options = {
		.known = BSP_KNOWN_ALL,
		.unshared = true,
	};

	return bsp_sparse_new(bsp_device_open(path, error), &options, error);
}

static int map_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	g_autoptr(GError) error = NULL;
	g_autoptr(bsp_sparse) sp = NULL;
	struct stat st;
	int status;

	if (fd < 0 || fstat(fd, &st) < 0)
		status = fail_reading(path, -errno);
	else if (st.st_size && (opt_verbose || opt_verify) &&
		 !(sp = open_file(path, &error)))
		status = failure_of(error);
	else
		status = map_opened(fd, path, (uint64_t)st.st_size, sp);
	if (fd >= 0)
		close(fd);
	return status;
}

/* --- The command -------------------------------------------------------- */

static int map(const char *path)
{
	struct stat st;
	int status;

	interrupt_catch();
	if (drawing_is_for(opt_format))
		drawing_init(&drawing, path);
	/* Opening a device gives the message for anything else. */
	if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
		status = map_file(path);
	else
		status = map_device(path);
	drawing_clear(&drawing);
	return status;
}

int command_map(int argc, char **argv)
{
	g_autoptr(GOptionContext) context = g_option_context_new(NULL);
	g_auto(GStrv) paths = NULL;
	int status;

	g_set_prgname("blksparse map");
	g_option_context_set_summary(
		context,
		"Reports which parts of PATH, a block device or a regular file, "
		"hold data\nand which are holes: zeros that need not be read or "
		"copied.");
	options_add(context, report_entries);
	options_add(context, entries);
	options_add(context, progress_entries);
	if (!options_parse(context, &argc, argv, &status))
		return status;
	paths = g_steal_pointer(&opt_paths);
	if (!paths)
		return usage_error("no PATH given");
	if (paths[1])
		return usage_error("one PATH at a time, not also '%s'",
				   paths[1]);
	status = report_check_options();
	return status == STATUS_OK ? map(paths[0]) : status;
}
