/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparsefs: the life of a mount.
 *
 *	start -> parse -> fork -> open devices -> drop powers -> mount ->
 *	serve -> unmount -> close
 *
 * The devices are opened before mounting, so that a failure leaves no mount
 * behind. After mounting each way out goes through the label of serve(), which
 * ends the watches, flushes the files and unmounts, in this order.
 */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "all.h"
#include "log.h"
#include "mount.h"
#include "mount-reason.h"
#include "notify.h"
#include "ops.h"
#include "powers.h"
#include "startup.h"
#include "uring.h"
#include "watch.h"

enum {
	/* The threads that a device that hangs can block: one for each request
	 * inside the gate, and one for a request that holds the file's lock in
	 * the kernel, such as a seek. */
	THREADS_A_FILE = GATE_REQUESTS + 1,
	FILES_OF_ALL = 64,     /* with --all, how many may hang at a time */
	THREADS_FOR_ALL = 255, /* for requests without device I/O */
	/* Idle threads that libfuse keeps. */
	MAX_IDLE_THREADS = 8,
	RETRY_MS = 100, /* before the next try to get memory */
};

/* Logs error and returns the exit status. */
static int log_failure(const GError *error)
{
	log_line(LOG_ERR, "%s", error->message);
	return g_error_matches(error, BSP_ERROR, BSP_ERROR_USAGE)
		       ? EXIT_USAGE
		       : EXIT_FAILURE;
}

/* --- Before mounting ----------------------------------------------------- */

static bool is_same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	return stat(a, &sa) == 0 && stat(b, &sb) == 0 &&
	       sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* A mount point that is a regular file is for one device. It must not be the
 * image itself. */
static int check_single(const struct mount *mount)
{
	const GPtrArray *sources = mount->options.sources;
	const struct source *first;

	if (!mount->mountpoint.is_file)
		return 0;
	if (mount->options.all) {
		log_line(
			LOG_ERR,
			"mount point %s is a regular file; --all needs a directory",
			mount->mountpoint.path);
		return EXIT_USAGE;
	}
	first = g_ptr_array_index(sources, 0);
	if (sources->len > 1) {
		log_line(
			LOG_ERR,
			"mount point %s is a regular file, which can show one device, not %u; give a directory",
			mount->mountpoint.path, sources->len);
		return EXIT_USAGE;
	}
	if (is_same_file(first->path, mount->mountpoint.path)) {
		log_line(
			LOG_ERR,
			"mount point %s is the image itself; give another file, or a directory",
			mount->mountpoint.path);
		return EXIT_USAGE;
	}
	return 0;
}

/* Whether a device is an export at a unix socket. */
static bool has_sockets(const struct options *options)
{
	for (guint i = 0; i < options->sources->len; i++) {
		const struct source *source =
			g_ptr_array_index(options->sources, i);

		if (bsp_is_nbd_uri(source->path) &&
		    strcasestr(source->path, "+unix:"))
			return true;
	}
	return false;
}

static bool open_tree(struct mount *mount, GError **error)
{
	if (!mount->options.all)
		return tree_open(&mount->tree, &mount->options,
				 mount->mountpoint.is_file, error);
	if (tree_open_all(&mount->tree, &mount->options) && all_init(mount))
		return true;
	g_set_error(error, BSP_ERROR, BSP_ERROR_FAILED, "out of memory");
	return false;
}

/* Does everything that comes before mounting. Returns an exit status. */
static int prepare(struct mount *mount)
{
	g_autoptr(GError) error = NULL;
	int r;

	if (!mountpoint_check(mount->options.mountpoint, &mount->mountpoint,
			      &error))
		return log_failure(error);
	r = check_single(mount);
	if (r)
		return r;
	if (!open_tree(mount, &error) ||
	    !powers_drop(has_sockets(&mount->options), &error))
		return log_failure(error);
	return 0;
}

/* --- The session --------------------------------------------------------- */

/* libfuse ends its loop if memory for another thread's buffer is short. No
 * request is lost then. But until requests are served again, readers of the
 * mount wait, and so do the watches that wait for their pages. So the loop
 * starts again. */
static int run_loop(struct mount *mount)
{
	const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000L };
	unsigned n_files = mount->options.all ? FILES_OF_ALL
					      : (unsigned)mount->tree.n_files;
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_max_threads(config, THREADS_FOR_ALL +
						      THREADS_A_FILE * n_files);
	fuse_loop_cfg_set_idle_threads(config, MAX_IDLE_THREADS);
	while ((r = fuse_session_loop_mt(mount->se, config)) == -ENOMEM) {
		/* From 3.18 on libfuse does not do this itself. The stopper
		 * sets stopping before it ends the loop, so reset before the
		 * check: a later end stays. */
		fuse_session_reset(mount->se);
		if (atomic_load(&mount->stopper.stopping))
			break;
		log_line(
			LOG_WARNING,
			"no memory for another thread; serving requests with the existing threads");
		(void)nanosleep(&pause, NULL);
	}
	fuse_loop_cfg_destroy(config);
	return r;
}

static int start_watches(struct mount *mount)
{
	int r = 0;

	for (size_t i = 0; !r && i < mount->tree.n_files; i++)
		r = watch_start(mount->tree.files[i].watch, mount->se,
				mount->options.writable,
				mount->options.background);
	return r;
}

static void stop_watch(struct file *file, void *data)
{
	watch_stop(file->watch);
}

static void join_watch(struct file *file, void *data)
{
	watch_join(file->watch);
}

static void end_watches(struct mount *mount)
{
	tree_each(&mount->tree, stop_watch, NULL);
	tree_each(&mount->tree, join_watch, NULL);
}

static void log_mount_failure(const struct mount *mount)
{
	log_line(LOG_ERR, "cannot mount at %s%s", mount->mountpoint.path,
		 mount_reason());
}

/* Ends the connection to the kernel, as a close would, but keeps the
 * descriptor's number for libfuse, which closes it later: a broken pipe takes
 * its place. */
static void end_connection(struct fuse_session *se)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return;
	close(fds[0]);
	(void)dup3(fds[1], fuse_session_fd(se), O_CLOEXEC);
	close(fds[1]);
}

/*
 * libfuse's own unmount would unmount any file system at the mount's former
 * path. It does nothing once the connection has ended. The connection must end
 * before the unmount in any case: otherwise dirty pages would wait for this
 * program to write them. False if a part of the mount is left, which is logged.
 */
static bool unmount(struct mount *mount)
{
	g_autoptr(GError) error = NULL;
	int connection = fuse_session_fd(mount->se);
	bool dead = mountpoint_is_dead(connection);
	bool ok = true;

	if (mount->mountpoint.device) {
		end_connection(mount->se);
		ok = mountpoint_unmount(&mount->mountpoint, dead, connection,
					&error);
	}
	if (ok)
		log_line(LOG_INFO, "unmounted %s", mount->mountpoint.path);
	else
		log_line(LOG_ERR, "%s", error->message);
	if (!mount->mountpoint.device ||
	    mountpoint_is_dead(fuse_session_fd(mount->se)))
		fuse_session_unmount(mount->se);
	return ok;
}

/* Mounts, serves until the end, and unmounts. */
static int serve(struct mount *mount)
{
	int status = EXIT_FAILURE;
	int r;

	stop_init(&mount->stopper, mount->options.writable);
	if (fuse_session_mount(mount->se, mount->mountpoint.path)) {
		log_mount_failure(mount);
		return EXIT_FAILURE;
	}
	mountpoint_mounted(&mount->mountpoint);
	if (!mount->options.without_uring)
		mount->uring = uring_attach(mount->se, &mount->buffers);
	r = start_watches(mount);
	if (r == 0)
		r = stop_start(&mount->stopper, mount->se, &mount->tree,
			       &mount->in_flight, &mount->mountpoint);
	if (r) {
		log_line(LOG_ERR, "cannot start a thread: %s", g_strerror(-r));
		goto end;
	}
	r = run_loop(mount);
	stop_loop_ended(&mount->stopper);
	uring_stop(mount->uring);
	/* If the mount goes while libfuse reads a request, the read fails with
	 * ECONNABORTED. */
	if (r == 0 || mountpoint_is_dead(fuse_session_fd(mount->se)))
		status = EXIT_SUCCESS;
	else
		log_line(LOG_ERR, "the connection to the kernel failed: %s",
			 g_strerror(abs(r)));
end:
	notify("STOPPING=1");
	end_watches(mount);
	/* Flush before the unmount: until then the devices may lack the last
	 * zeros. */
	if (!tree_finish(&mount->tree, mount->options.tail))
		status = EXIT_FAILURE;
	if (!unmount(mount))
		status = EXIT_FAILURE;
	return status;
}

static bool init_thread_values(struct mount *mount)
{
	if (buffers_init(&mount->buffers))
		return false;
	if (in_flight_init(&mount->in_flight) == 0)
		return true;
	buffers_done(&mount->buffers);
	return false;
}

static int run(struct mount *mount)
{
	int status = prepare(mount);

	if (status)
		goto close_tree;
	status = EXIT_FAILURE;
	log_start();
	if (!init_thread_values(mount)) {
		log_line(LOG_ERR, "too many thread-specific keys");
		goto close_tree;
	}
	mount->se = fuse_session_new(&mount->options.fuse,
				     mount->options.all ? all_ops() : &ops,
				     sizeof(ops), mount);
	mount->tree.se = mount->se;
	held_init(&mount->held);
	if (mount->se) {
		status = serve(mount);
		stop_files_end(&mount->stopper);
		fuse_session_destroy(mount->se);
		uring_free(mount->uring);
	}
	held_done(&mount->held);
	in_flight_done(&mount->in_flight);
	buffers_done(&mount->buffers);
close_tree:
	tree_close(&mount->tree);
	all_done(mount);
	stop_end(&mount->stopper);
	mountpoint_done(&mount->mountpoint);
	return status;
}

int main(int argc, char **argv)
{
	struct mount mount = { .ready.fd = -1,
			       .set_readahead = ATOMIC_FLAG_INIT };
	int status;

	if (!startup())
		return EXIT_FAILURE;
	startup_service();
	log_init();
	if (options_parse(argc, argv, &mount.options, &status)) {
		if (mount.options.foreground || ready_fork(&mount.ready))
			status = run(&mount);
		else
			status = EXIT_FAILURE;
	}
	ready_done(&mount.ready);
	options_done(&mount.options);
	log_end();
	return status;
}
