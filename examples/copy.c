/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copies a block device or an image to another block device, or to a
 * file, which becomes sparse. Shows its progress; Ctrl-C ends it.
 *
 *	cc -o copy copy.c $(pkg-config --cflags --libs libblksparse)
 */
#include <blksparse.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

static volatile sig_atomic_t stop;

static void on_signal(int signum)
{
	(void)signum;
	stop = 1;
}

/* A bsp_interrupted_fn. */
static bool is_interrupted(void *data)
{
	(void)data;
	return stop;
}

/* A bsp_progress_fn. */
static void show(void *data, const struct bsp_progress *now)
{
	(void)data;
	fprintf(stderr, "\r%s %3.0f %%",
		now->phase == BSP_PHASE_VERIFY ? "verified" : "copied",
		now->size ? 100.0 * (double)now->done / (double)now->size : 0);
}

/* A block device keeps its size; any other target is a file to be made. */
static struct bsp_device *
open_target(const char *path, const struct bsp_device *from, GError **error)
{
	struct bsp_device_info info;
	struct stat st;

	if (stat(path, &st) == 0 && S_ISBLK(st.st_mode))
		return bsp_device_open_writable(path, error);
	bsp_device_get_info(from, &info);
	return bsp_device_create_image(path, info.size, from, error);
}

static bool copy(const char *from_path, const char *to_path,
		 struct bsp_progress *ret_progress, GError **error)
{
	const struct bsp_transfer_options options = {
		.interrupted = is_interrupted,
		.progress = show,
		.verify = true,
	};
	g_autoptr(bsp_device) from = NULL, to = NULL;
	g_autoptr(bsp_sparse) source = NULL, target = NULL;

	from = bsp_device_open(from_path, error);
	if (!from)
		return false;
	to = open_target(to_path, from, error);
	if (!to || !bsp_device_check_not_same(from, to, error))
		return false;
	/* The objects take the devices over. */
	source = bsp_sparse_new(g_steal_pointer(&from), NULL, error);
	if (!source)
		return false;
	target = bsp_sparse_new(g_steal_pointer(&to), NULL, error);
	return target &&
	       bsp_copy(source, target, &options, ret_progress, error);
}

int main(int argc, char **argv)
{
	g_autoptr(GError) error = NULL;
	struct bsp_progress done;

	if (argc != 3) {
		fprintf(stderr, "usage: %s SOURCE TARGET\n", argv[0]);
		return 2;
	}
	signal(SIGINT, on_signal);
	if (!copy(argv[1], argv[2], &done, &error)) {
		fprintf(stderr, "\n%s: %s\n", argv[0], error->message);
		return 1;
	}
	fprintf(stderr, "\n");
	printf("%" PRIu64 " bytes: %" PRIu64 " of data, %" PRIu64 " zero\n",
	       done.size, done.data, done.hole);
	return 0;
}
