/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handlers of requests. Each one finds its object, makes one call to the
 * library, and replies once. Any number of threads run them. The table comes
 * last.
 *
 * Some operations are missing from the table: access, and all of extended
 * attributes but their list. libfuse answers them with ENOSYS once; the kernel
 * takes that for success (access) or EOPNOTSUPP and never asks again. Without
 * FUSE_CAP_POSIX_ACL it does not even ask for an ACL (fs/fuse/acl.c). On a
 * read-only mount flush and fsync get the same reply; the kernel itself refuses
 * writes there, with EROFS. lseek and fallocate never reply ENOSYS: the kernel
 * would assume that no file has holes.
 *
 * The directory holds the devices and nothing else: creating and removing names
 * fails with EPERM.
 *
 * How long the kernel may cache: names and the directory for long, as they
 * never change. Attributes not at all: GNU tar takes a file without blocks for
 * a hole, and the number of blocks changes with the map. Content until a watch
 * drops it.
 */
#include "ops.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "blksparse-thread.h"
#include "blksparse-ioctl.h"
#include "caller.h"
#include "figures.h"
#include "log.h"
#include "mount.h"
#include "notify.h"
#include "request.h"
#include "uring.h"
#include "watch.h"

#define LONG_TIMEOUT 86400.0 /* seconds */

/* FUSE_CAP_OVER_IO_URING, which libfuse knows from 3.18 on. */
#define CAP_OVER_IO_URING (UINT32_C(1) << 31)

enum {
	/*
	 * Requests in flight that no caller waits for (read-ahead, asynchronous
	 * direct I/O), of all files together. At the limit the kernel sends no
	 * more of them, so that those of one device that hangs would stop all
	 * files. Use the maximum of the protocol. The kernel gives less to a
	 * user who is not root (max_user_bgreq, in process_init_limits() of
	 * fs/fuse/inode.c).
	 */
	MAX_BACKGROUND = UINT16_MAX,
	CONGESTION_THRESHOLD = MAX_BACKGROUND / 4 * 3,
	/* On a device that takes 1 ms for each read, 128 KiB at a time would
	 * give 128 MB a second. */
	READ_AHEAD_KIB = 2048,
	STATFS_UNIT = 4096,
	NAME_BYTES_MAX = 255,
};

/* How long a server may take before a signal that does not kill ends a wait. */
#define PATIENCE_NS (INT64_C(2) * 1000000000)

static struct mount *mount_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct file *file_of(fuse_req_t req, fuse_ino_t ino)
{
	return tree_find(&mount_of(req)->tree, ino);
}

/* Begins a request about an inode. */
static struct request begin(fuse_req_t req, fuse_ino_t ino, const char *op,
			    uint64_t off, uint64_t len)
{
	const struct file *file =
		log_shows(LOG_DEBUG) ? file_of(req, ino) : NULL;
	struct request request =
		request_begin(req, file ? file->name : ".", op, off, len);

	request.slot =
		in_flight_begin(&mount_of(req)->in_flight, ino, op, off, len);
	return request;
}

/* --- Start --------------------------------------------------------------- */

static void refuse_cap(struct fuse_conn_info *conn, unsigned cap)
{
	conn->want &= ~cap;
}

static void want_cap(struct fuse_conn_info *conn, unsigned cap)
{
	conn->want |= conn->capable & cap;
}

/*
 * Whether the kernel may complete direct I/O asynchronously. For an
 * asynchronous write it drops the file's pages before the write and not after
 * it: generic_file_direct_write() in mm/filemap.c leaves that to the file
 * system, and fuse_aio_complete() in fs/fuse/file.c does not do it. A page that
 * a buffered reader brings in meanwhile then keeps the old bytes for as long as
 * it lives. Linux fixed that in 2026 ("fuse: invalidate page cache after DIO
 * and async DIO writes"), but the protocol does not tell, and a version number
 * says nothing about a kernel with patches.
 *
 * So a writable mount does without: the kernel sends its direct writes one
 * after another, and also the direct reads of one thread. The flag holds for
 * the whole connection. Dropping the pages from here is no way out: after the
 * reply, readers would get old bytes for a moment; before the reply, it may
 * wait for a page whose read-ahead waits for this request.
 */
static void set_async_direct(struct fuse_conn_info *conn, bool on)
{
	if (on)
		want_cap(conn, FUSE_CAP_ASYNC_DIO);
	else
		refuse_cap(conn, FUSE_CAP_ASYNC_DIO);
}

static void log_shown(struct file *file, void *data)
{
	log_line(LOG_INFO, "%s: shown as '%s', %" G_GUINT64_FORMAT " bytes, %s",
		 file->path, file->name, bsp_sparse_size(file->sparse),
		 file->writable ? "writable" : "read-only");
}

static void log_mounted(const struct mount *mount)
{
	tree_each(&mount->tree, log_shown, NULL);
	log_line(LOG_INFO, "mounted at %s", mount->mountpoint.path);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct mount *mount = userdata;

	/* It would make each read(2) send a getattr, as attributes are not
	 * cached. The watches do its work. */
	refuse_cap(conn, FUSE_CAP_AUTO_INVAL_DATA);
	/* Stale pages would stay when the device shrinks or grows. */
	refuse_cap(conn, FUSE_CAP_EXPLICIT_INVAL_DATA);
	/* The kernel would hold written pages that a search (lseek) here does
	 * not see. */
	refuse_cap(conn, FUSE_CAP_WRITEBACK_CACHE);
	/* The kernel would leave it to this program to clear setuid bits. */
	refuse_cap(conn, FUSE_CAP_HANDLE_KILLPRIV);
	/* libfuse would run all requests of a CPU on one thread; see uring.c.
	 * The environment can ask libfuse for it. */
	refuse_cap(conn, CAP_OVER_IO_URING);
	want_cap(conn, FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS |
			       FUSE_CAP_IOCTL_DIR);
	set_async_direct(conn, !mount->options.writable);
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = CONGESTION_THRESHOLD;
	conn->max_read = mount->options.max_read;
	log_line(LOG_DEBUG, "protocol %u.%u, capable of %#x, using %#x",
		 conn->proto_major, conn->proto_minor, conn->capable,
		 conn->want);
	if (!ready_report(&mount->ready)) {
		log_line(LOG_ERR, "the caller is gone; unmounting");
		fuse_session_exit(mount->se);
		return;
	}
	log_mounted(mount);
	notify("READY=1");
}

/* --- Names and attributes ------------------------------------------------ */

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const struct tree *tree = &mount_of(req)->tree;
	const struct file *file = tree_lookup(tree, name);
	struct request request = request_begin(req, name, "lookup", 0, 0);
	struct fuse_entry_param entry = { .entry_timeout = LONG_TIMEOUT };

	if (tree_find(tree, parent)) {
		reply_error(&request, -ENOTDIR);
		return;
	}
	/* Inode 0 means that the name does not exist, which the kernel may
	 * cache. */
	if (file) {
		entry.ino = file->ino;
		(void)tree_stat(tree, file->ino, &entry.attr);
	}
	reply_entry(&request, &entry);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct request request = begin(req, ino, "getattr", 0, 0);
	struct stat st;

	if (!tree_stat(&mount_of(req)->tree, ino, &st))
		reply_error(&request, -ENOENT);
	else
		reply_attr(&request, &st,
			   S_ISDIR(st.st_mode) ? LONG_TIMEOUT : 0);
}

/* Restoring programs check the free space here. No file can be created, so no
 * inode is free. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct tree *tree = &mount_of(req)->tree;
	struct request request = begin(req, ino, "statfs", 0, 0);
	struct statvfs st = {
		.f_bsize = STATFS_UNIT,
		.f_frsize = STATFS_UNIT,
		.f_files = tree->n_files,
		.f_namemax = NAME_BYTES_MAX,
	};
	uint64_t bytes, free_bytes;

	tree_space(tree, &bytes, &free_bytes);
	st.f_blocks = bytes / STATFS_UNIT;
	st.f_bfree = free_bytes / STATFS_UNIT;
	st.f_bavail = st.f_bfree;
	reply_statfs(&request, &st);
}

/* The list is empty, which is no error: a file system without extended
 * attributes replies so (vfs_listxattr() in fs/xattr.c). */
static void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct request request = begin(req, ino, "listxattr", 0, size);

	if (size == 0)
		reply_xattr_size(&request, 0);
	else
		reply_data(&request, NULL, 0);
}

/* Entry i of the directory: ".", "..", then the files. */
static const char *entry_at(const struct tree *tree, size_t i,
			    struct stat *ret_st)
{
	static const char *const dots[] = { ".", ".." };
	const struct file *file;

	memset(ret_st, 0, sizeof(*ret_st));
	if (i < G_N_ELEMENTS(dots)) {
		ret_st->st_ino = FUSE_ROOT_ID;
		ret_st->st_mode = S_IFDIR;
		return dots[i];
	}
	file = &tree->files[i - G_N_ELEMENTS(dots)];
	ret_st->st_ino = file->ino;
	ret_st->st_mode = S_IFREG;
	return file->name;
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct mount *mount = mount_of(req);
	struct request request =
		begin(req, ino, "readdir", (uint64_t)off, size);
	size_t n_entries = mount->tree.n_files + 2;
	char *buf = buffers_get(&mount->buffers, size);
	size_t used = 0;

	if (!buf) {
		reply_error(&request, -ENOMEM);
		return;
	}
	for (size_t i = (size_t)off; i < n_entries; i++) {
		struct stat st;
		const char *name = entry_at(&mount->tree, i, &st);
		size_t need = fuse_add_direntry(req, buf + used, size - used,
						name, &st, (off_t)i + 1);

		if (need > size - used)
			break;
		used += need;
	}
	reply_data(&request, buf, used);
}

/* --- Figures ------------------------------------------------------------- */

/*
 * The kernel sends other ioctls, too, such as those of chattr(1). ENOTTY tells
 * that there is no such ioctl here. This request is not one of those in flight.
 */
static void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd,
		     void *arg, struct fuse_file_info *fi, unsigned flags,
		     const void *in, size_t in_size, size_t out_size)
{
	struct mount *mount = mount_of(req);
	struct request request = request_begin(req, ".", "ioctl", cmd, in_size);
	bool is_folder = ino == FUSE_ROOT_ID && !mount->tree.root_is_file;
	struct bsp_ioctl_stat st;

	if (cmd != BSP_IOCTL_STAT || in_size < sizeof(st) ||
	    out_size < sizeof(st)) {
		reply_error(&request, -ENOTTY);
		return;
	}
	memcpy(&st, in, sizeof(st));
	if (figures_fill(&mount->tree, is_folder ? 0 : ino, &mount->in_flight,
			 &st))
		reply_ioctl(&request, &st, sizeof(st));
	else
		reply_error(&request, -ENOENT);
}

/* --- Requests that may take long ----------------------------------------- */

/*
 * The callbacks below end a request early. Some functions of the library ask
 * one themselves. Waits for a server on the network, which are deep in the
 * library, ask what bsp_interrupt_set() gives to the thread.
 *
 * The kernel tells of a signal only once, and may not tell at all, so look at
 * the caller as well. By io_uring the kernel loses an interrupt if the signal
 * comes before the request is in its ring entry (fuse_uring_prepare_send() in
 * fs/fuse/dev_uring.c does not check). libfuse loses it if it reads the
 * interrupt before the request: it then asks for the interrupt again through
 * /dev/fuse, where the kernel does not look for requests that went by io_uring.
 */

/* Used by the thread that handles the request. */
struct call {
	fuse_req_t req;
	struct caller killed;	 /* for caller_is_killed() */
	struct caller signalled; /* for caller_has_signal() */
	int64_t began_ns;	 /* CLOCK_MONOTONIC */
	bool is_over;		 /* a callback has said so */
};

static int64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Begins a call whose waits over() can end. Call call_end() before the reply.
 */
static void call_begin(struct call *call, fuse_req_t req,
		       bsp_interrupted_fn over, bool look_at_once)
{
	pid_t tid = fuse_req_ctx(req)->pid;

	*call = (struct call){ .req = req, .began_ns = now_ns() };
	caller_init(&call->killed, tid, look_at_once);
	caller_init(&call->signalled, tid, look_at_once);
	bsp_interrupt_set(over, call);
}

static void call_end(void)
{
	bsp_interrupt_set(NULL, NULL);
}

static bool is_ending(const struct mount *mount)
{
	return atomic_load(&mount->stopper.stopping) ||
	       fuse_session_exited(mount->se);
}

/* A bsp_interrupted_fn of seeks, which have an answer at any time. Any signal
 * ends a seek: the kernel lets the caller go, and unlocks the file, only after
 * the reply. */
static bool seek_is_over(void *data)
{
	struct call *call = data;

	call->is_over = call->is_over || fuse_req_interrupted(call->req) ||
			is_ending(mount_of(call->req)) ||
			caller_has_signal(&call->signalled);
	return call->is_over;
}

/*
 * A bsp_interrupted_fn of flushes. As on other file systems, close(2) and
 * fsync(2) do not fail because of a signal that their caller survives; but a
 * killed caller must not wait for hours. The end of the mount does not end a
 * flush: the unmount would zero the same ranges, and wait for them, so the
 * flush may as well give the true answer.
 */
static bool flush_is_over(void *data)
{
	struct call *call = data;

	call->is_over = call->is_over || caller_is_killed(&call->killed);
	return call->is_over;
}

static bool is_patient(const struct call *call)
{
	return now_ns() - call->began_ns < PATIENCE_NS;
}

/*
 * A bsp_interrupted_fn of what changes the file. Programs do not expect EINTR
 * from a file, and some get signals all the time, so only a signal that kills
 * ends the wait at once. After some time the server hangs, and any signal does.
 */
static bool write_is_over(void *data)
{
	struct call *call = data;

	if (!flush_is_over(call) && !is_patient(call))
		call->is_over = fuse_req_interrupted(call->req) ||
				caller_has_signal(&call->signalled);
	return call->is_over;
}

/*
 * The same for reads and openings, which the end of the mount ends, too. So
 * does the end of the thread that caused a read ahead: its pages are locked,
 * and an unmount waits for the thread of watch.c, which waits for them to drop
 * them. A reader that wants these pages has them read anew.
 */
static bool read_is_over(void *data)
{
	struct call *call = data;

	if (!write_is_over(call) && !is_patient(call))
		call->is_over = is_ending(mount_of(call->req)) ||
				caller_is_gone(&call->killed);
	return call->is_over;
}

/* --- Content ------------------------------------------------------------- */

/* The kernel sends O_TRUNC here, and not as a setattr. */
static int check_open(struct file *file, int flags)
{
	int r;

	if (!file)
		return -EISDIR;
	if ((flags & O_ACCMODE) != O_RDONLY && !file->writable)
		return -EROFS;
	if (!(flags & O_TRUNC) || !file->writable)
		return 0;
	r = bsp_sparse_truncate(file->sparse, 0);
	if (r == 0)
		file_touch(file);
	return r;
}

/* An open file; fuse_file_info's fh points to it. */
struct handle {
	struct held_item item; /* first */
	bool writable;	       /* fuse_file_info has no flags in a flush */
	atomic_uint failed;    /* failed flushes that fsync has reported */
};

static struct handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct handle *)(uintptr_t)fi->fh;
}

/* Part of struct held_item. */
static void handle_free(struct held_item *item)
{
	free(item);
}

static int handle_new(struct mount *mount, struct file *file,
		      struct fuse_file_info *fi)
{
	struct handle *handle = calloc(1, sizeof(*handle));

	if (!handle)
		return -ENOMEM;
	handle->writable = (fi->flags & O_ACCMODE) != O_RDONLY;
	atomic_init(&handle->failed, bsp_sparse_failed_flushes(file->sparse));
	held_add(&mount->held, &handle->item, handle_free);
	fi->fh = (uintptr_t)handle;
	return 0;
}

static void close_handle(struct mount *mount, struct file *file,
			 struct fuse_file_info *fi)
{
	watch_closed(file->watch);
	held_free(&mount->held, &handle_of(fi)->item);
	file_close(file);
}

/* Whether an opening must not wait for the device: so that a caller can ask
 * about a file whose device hangs (blksparse-ioctl.h). */
static bool is_nowait(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ASYNC) &&
	       (fi->flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY;
}

/* Opens a file and chooses how the kernel caches it. Returns 0 or -errno. */
static int open_handle(struct mount *mount, struct file *file,
		       struct fuse_file_info *fi)
{
	int r = check_open(file, fi->flags);
	enum watch_cache cache;

	/* The device of such a file may still have to be opened. */
	if (!r && file->on_demand && is_nowait(fi))
		r = -EAGAIN;
	if (!r)
		r = file_open(&mount->tree, file);
	if (r)
		return r;
	/* Other errors are those of reads. */
	if (!is_nowait(fi) && bsp_sparse_connect(file->sparse) == -EINTR)
		r = -EINTR;
	if (!r)
		r = handle_new(mount, file, fi);
	if (r) {
		file_close(file);
		return r;
	}
	cache = is_nowait(fi) ? watch_opened_nowait(file->watch)
			      : watch_opened(file->watch);
	fi->keep_cache = cache == WATCH_KEEP;
	fi->direct_io = cache == WATCH_BYPASS;
	return 0;
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *mount = mount_of(req);
	struct request request = begin(req, ino, "open", 0, 0);
	struct file *file = file_of(req, ino);
	struct call call;
	int r;

	tree_pin(&mount->tree, ino);

	/* Files that are open already keep their read-ahead, so set it before
	 * the first. */
	if (!atomic_flag_test_and_set(&mount->set_readahead))
		mountpoint_read_ahead(&mount->mountpoint, READ_AHEAD_KIB);
	call_begin(&call, req, read_is_over, false);
	r = open_handle(mount, file, fi);
	call_end();
	if (r)
		reply_error(&request, r);
	else if (!reply_open(&request, fi))
		close_handle(mount, file, fi);
	tree_unpin(&mount->tree, ino);
}

static void op_release(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct request request = begin(req, ino, "release", 0, 0);

	close_handle(mount_of(req), file_of(req, ino), fi);
	reply_error(&request, 0);
}

/*
 * Reads size bytes, or up to the end of the file; returns their number or
 * -errno. A probe page of the cache comes first. The kernel would take a short
 * count before the end of the file for its end, and shrink the file; the
 * library returns all bytes or an error.
 */
static ssize_t read_file(struct file *file, char *buf, size_t size,
			 uint64_t off, bool direct)
{
	size_t cached = 0;
	ssize_t n;

	if (!file->writable && !direct)
		cached = watch_cached(file->watch, buf, size, off);
	n = bsp_sparse_read(file->sparse, off + cached, buf + cached,
			    size - cached);
	return n < 0 ? n : (ssize_t)cached + n;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	struct request request = begin(req, ino, "read", (uint64_t)off, size);
	char *buf = buffers_get(&mount_of(req)->buffers, size);
	ssize_t n = -ENOMEM;
	struct call call;

	call_begin(&call, req, read_is_over, false);
	if (buf)
		n = read_file(file_of(req, ino), buf, size, (uint64_t)off,
			      fi->flags & O_DIRECT);
	call_end();
	if (n < 0)
		reply_error(&request, (int)n);
	else
		reply_data(&request, buf, (size_t)n);
}

static int seek(struct bsp_sparse *sp, off_t off, int whence, struct call *call,
		uint64_t *ret_off)
{
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (off < 0)
		return -ENXIO;
	if (whence == SEEK_DATA)
		return bsp_sparse_seek_data(sp, (uint64_t)off, seek_is_over,
					    call, ret_off);
	return bsp_sparse_seek_hole(sp, (uint64_t)off, seek_is_over, call,
				    ret_off);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
		     struct fuse_file_info *fi)
{
	struct request request = begin(
		req, ino, whence == SEEK_DATA ? "lseek-data" : "lseek-hole",
		(uint64_t)off, 0);
	struct call call;
	uint64_t found;
	int r;

	call_begin(&call, req, seek_is_over, false);
	r = seek(file_of(req, ino)->sparse, off, whence, &call, &found);
	call_end();
	if (r)
		reply_error(&request, r);
	else
		reply_offset(&request, found);
}

/* --- Writing --- */

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
		     size_t size, off_t off, struct fuse_file_info *fi)
{
	struct file *file = file_of(req, ino);
	struct request request = begin(req, ino, "write", (uint64_t)off, size);
	struct call call;
	ssize_t n;

	call_begin(&call, req, write_is_over, false);
	n = (fi->writepage ? bsp_sparse_write_pages : bsp_sparse_write)(
		file->sparse, (uint64_t)off, buf, size);
	call_end();
	if (n > 0 || n == -EINTR)
		file_touch(file);
	if (n == -EINTR)
		watch_interrupted(file->watch, (uint64_t)off, size);
	if (n < 0) {
		reply_error(&request, (int)n);
		return;
	}
	reply_written(&request, (size_t)n);
	watch_wrote(file->watch);
}

/* Returns 0 or -errno. */
static int set_attr(struct file *file, const struct stat *attr, int to_set)
{
	bool resize = to_set & FUSE_SET_ATTR_SIZE;
	int r = 0;

	if (!file)
		return -EPERM;
	/* The kernel refuses this already, unless root remounted the mount. */
	if (!file->writable)
		return -EROFS;
	if (resize)
		r = bsp_sparse_truncate(file->sparse, (uint64_t)attr->st_size);
	if (r)
		return r;
	if (resize)
		watch_resized(file->watch);
	file_set_attr(file, attr, to_set);
	return 0;
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
		       int to_set, struct fuse_file_info *fi)
{
	uint64_t size =
		to_set & FUSE_SET_ATTR_SIZE ? (uint64_t)attr->st_size : 0;
	struct request request = begin(req, ino, "setattr", size, 0);
	struct call call;
	struct stat st;
	int r;

	call_begin(&call, req, write_is_over, false);
	r = set_attr(file_of(req, ino), attr, to_set);
	call_end();
	if (r == 0 && !tree_stat(&mount_of(req)->tree, ino, &st))
		r = -ENOENT;
	if (r)
		reply_error(&request, r);
	else
		reply_attr(&request, &st, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off,
			 off_t len, struct fuse_file_info *fi)
{
	struct file *file = file_of(req, ino);
	struct request request =
		begin(req, ino, "fallocate", (uint64_t)off, (uint64_t)len);
	struct call call;
	int r;

	call_begin(&call, req, write_is_over, false);
	r = bsp_sparse_fallocate(file->sparse, mode, (uint64_t)off,
				 (uint64_t)len);
	call_end();
	if (r == 0)
		file_touch(file);
	reply_error(&request, r);
}

/* The kernel sends it at each close(2). */
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct file *file = file_of(req, ino);
	struct request request = begin(req, ino, "flush", 0, 0);
	struct call call;
	int r = 0;

	/* Look at once: the caller may be closing its files because it was
	 * killed. */
	call_begin(&call, req, flush_is_over, true);
	if (!file->writable)
		r = -ENOSYS;
	else if (handle_of(fi)->writable)
		r = bsp_sparse_flush_markers(file->sparse, flush_is_over,
					     &call);
	call_end();
	reply_error(&request, r);
}

/* Flushes, and reports each failed flush once to every handle: a failed flush
 * may have lost the data of any of them. Other file systems do the same. */
static int flush_file(struct file *file, struct handle *handle, fuse_req_t req)
{
	struct call call;
	unsigned failed;
	int r;

	call_begin(&call, req, flush_is_over, false);
	r = bsp_sparse_flush(file->sparse, flush_is_over, &call);
	call_end();
	failed = bsp_sparse_failed_flushes(file->sparse);
	if (r == -EINTR)
		return r;
	if (atomic_exchange(&handle->failed, failed) != failed && !r)
		r = -EIO;
	return r;
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		     struct fuse_file_info *fi)
{
	struct file *file = file_of(req, ino);
	struct request request = begin(req, ino, "fsync", 0, 0);
	int r = -ENOSYS;

	if (file->writable)
		r = flush_file(file, handle_of(fi), req);
	reply_error(&request, r);
}

/* --- Names cannot change --- */

static void refuse_name(fuse_req_t req, const char *name, const char *op)
{
	struct request request = request_begin(req, name, op, 0, 0);

	reply_error(&request, -EPERM);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		     mode_t mode, dev_t rdev)
{
	refuse_name(req, name, "mknod");
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		     mode_t mode)
{
	refuse_name(req, name, "mkdir");
}

static void op_remove(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	refuse_name(req, name, "remove");
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
		       const char *name)
{
	refuse_name(req, name, "symlink");
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		      fuse_ino_t new_parent, const char *new_name,
		      unsigned int flags)
{
	refuse_name(req, name, "rename");
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent,
		    const char *new_name)
{
	refuse_name(req, new_name, "link");
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name,
		      mode_t mode, struct fuse_file_info *fi)
{
	refuse_name(req, name, "create");
}

/* --- Requests that wait for a device --- */

/* Runs a handler that may wait for a device; see gate.h. */
static void run_gated(struct job *job)
{
	const struct tree *tree = &mount_of(job->req)->tree;
	struct file *file = file_of(job->req, job->ino);
	fuse_ino_t ino = job->ino;

	job->came_ns = in_flight_now();
	if (!file || uring_is_worker()) {
		job->run(job);
		return;
	}
	/* The gate is used after the reply. */
	tree_pin(tree, ino);
	gate_run(&file->gate, job);
	tree_unpin(tree, ino);
}

/* The request was in flight while it waited at the gate. */
static void note_wait(const struct job *job)
{
	in_flight_came(&mount_of(job->req)->in_flight, job->came_ns);
}

static void run_open(const struct job *job)
{
	struct fuse_file_info fi = job->fi;

	note_wait(job);
	op_open(job->req, job->ino, &fi);
}

static void gated_open(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct job job = { .run = run_open, .req = req, .ino = ino, .fi = *fi };

	if (is_nowait(fi))
		op_open(req, ino, fi);
	else
		run_gated(&job);
}

static void run_read(const struct job *job)
{
	struct fuse_file_info fi = job->fi;

	note_wait(job);
	op_read(job->req, job->ino, job->size, job->off, &fi);
}

static void gated_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct job job = {
		.run = run_read,
		.req = req,
		.ino = ino,
		.fi = *fi,
		.size = size,
		.off = off,
	};

	run_gated(&job);
}

static void run_write(const struct job *job)
{
	struct fuse_file_info fi = job->fi;

	note_wait(job);
	op_write(job->req, job->ino, job->buf, job->size, job->off, &fi);
}

static void gated_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
			size_t size, off_t off, struct fuse_file_info *fi)
{
	struct job job = {
		.run = run_write,
		.req = req,
		.ino = ino,
		.fi = *fi,
		.size = size,
		.off = off,
		.buf = buf,
	};

	run_gated(&job);
}

static void run_flush(const struct job *job)
{
	struct fuse_file_info fi = job->fi;

	note_wait(job);
	op_flush(job->req, job->ino, &fi);
}

static void gated_flush(fuse_req_t req, fuse_ino_t ino,
			struct fuse_file_info *fi)
{
	struct job job = {
		.run = run_flush, .req = req, .ino = ino, .fi = *fi
	};

	/* A flush of a reader does nothing. */
	if (handle_of(fi)->writable)
		run_gated(&job);
	else
		op_flush(req, ino, fi);
}

const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.statfs = op_statfs,
	.listxattr = op_listxattr,
	.readdir = op_readdir,
	.ioctl = op_ioctl,
	.open = gated_open,
	.release = op_release,
	.read = gated_read,
	.lseek = op_lseek,
	.write = gated_write,
	.setattr = op_setattr,
	.fallocate = op_fallocate,
	.flush = gated_flush,
	.fsync = op_fsync,
	.create = op_create,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_remove,
	.rmdir = op_remove,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
};
