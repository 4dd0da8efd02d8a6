/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random operations on a file of a writable mount, compared with a shadow copy.
 *
 *   random-ops init [--seed N] DEVICE SHADOW
 *   random-ops run [OPTION...] FILE DEVICE SHADOW
 *   random-ops finish --tail keep|zero|discard DEVICE SHADOW
 *
 * "init" fills DEVICE with runs of data and zeros, and SHADOW with the same.
 * "run" works on FILE, which shows DEVICE. Each worker, a thread or a process,
 * has a range of its own; the last one also moves the end of the file. After
 * each operation the worker searches with lseek: every byte of a hole must be
 * zero in the shadow. "finish" runs after unmounting: the device must match the
 * file up to its end, and the tail option past it. Then it resets the shadow
 * for the next mount.
 *
 * Options of "run":
 *   --seed N     default 1
 *   --ops N      of each worker, default 1000
 *   --threads N  workers in one process, default 1
 *   --processes N  workers, each a process with its own descriptors and maps
 *   --granule N  of the mount, default 4096
 *   --longest N  bytes of an operation, default 393216
 *   --map        mapped reads and writes; ranges of workers are whole pages
 *   --direct     O_DIRECT as well; also batches of reads and writes, by
 *                libaio, see io_submit(2), and by io_uring
 *   --noise      two more threads: one opens and closes the file all the
 *                time, which flushes zeros, and one reads everywhere,
 *                buffered and, with --direct, directly
 *
 * SHADOW has a header with the length of the file, and three parts as long as
 * the device: the bytes of the file, the bytes of the device at mounting, and a
 * flag for each byte that was touched since.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#ifdef WITH_URING
#include <liburing.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/choices.h"

enum {
	PAGE = 4096,
	LONGEST = 384 << 10, /* bytes of an operation, by default */
	WINDOW = 1 << 20,    /* bytes of a buffer; twice the longest, if more */
	BATCH_MAX = 16,
	LOG_LEN = 4096,
	TEXT = 64,
};

/* --- The shadow --- */

struct header {
	uint64_t size; /* of the device */
	uint64_t len;  /* of the file */
	char pad[PAGE - 16];
};

struct shadow {
	struct header *header;
	uint64_t size;
	unsigned char *bytes;	/* of the file; zero past its end */
	unsigned char *initial; /* of the device at mounting */
	unsigned char *touched;
};

struct entry {
	uint64_t op, from, to;
	char text[TEXT];
};

struct work {
	/* Fixed. */
	const char *path;
	struct shadow shadow;
	uint64_t seed, ops, granule;
	unsigned workers;
	bool processes; /* or threads */
	bool map, direct, noise;
	uint64_t longest; /* bytes of an operation */
	int device;	  /* reads through the page cache */
	int device_direct;

	atomic_bool done;
};

struct worker {
	struct work *work;
	unsigned number;
	uint64_t from, to; /* its range; the file never grows past to */
	bool owns_end;
	struct choices choices;
	uint64_t last, last_len; /* range of the last operation */

	int fd, direct;
	char *mapped;	/* [from, to), or NULL */
	bool map_dirty; /* stored bytes were not synced yet */
	aio_context_t aio;
#ifdef WITH_URING
	struct io_uring ring;
#endif

	uint64_t op;
	struct entry *log; /* the last LOG_LEN operations */
	uint64_t logged;
	char *buf, *buf2, *unused;
};

static uint64_t window(const struct worker *w)
{
	return w->work->longest > WINDOW / 2 ? 2 * w->work->longest : WINDOW;
}

static _Noreturn void die(const char *message)
{
	fprintf(stderr, "random-ops: %s: %s\n", message, strerror(errno));
	exit(2);
}

static void shadow_open(struct shadow *shadow, const char *path, uint64_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	struct stat st;
	char *base;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	if (st.st_size == 0 &&
	    ftruncate(fd, (off_t)(sizeof(struct header) + 3 * size)) < 0)
		die(path);
	base = mmap(NULL, sizeof(struct header) + 3 * size,
		    PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		die(path);
	close(fd);
	shadow->header = (struct header *)base;
	shadow->size = size;
	shadow->bytes = (unsigned char *)base + sizeof(struct header);
	shadow->initial = shadow->bytes + size;
	shadow->touched = shadow->initial + size;
}

static int device_open(const char *path, int flags, uint64_t *ret_size)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, ret_size) < 0)
		die(path);
	return fd;
}

static void pread_all(int fd, void *buf, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)off);

		if (n <= 0)
			die("read the device");
		buf = (char *)buf + n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
}

/* --- Random numbers --- */

static uint64_t below(struct worker *w, uint64_t n)
{
	return dice_below(&w->choices.dice, n);
}

static bool chance(struct worker *w, unsigned percent)
{
	return dice_chance(&w->choices.dice, percent * 10);
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void fill(struct worker *w, char *buf, uint64_t len, uint64_t off)
{
	choose_bytes(&w->choices, buf, len, off);
}

/* --- Failures --- */

static __attribute__((format(printf, 4, 5))) void
note(struct worker *w, uint64_t from, uint64_t to, const char *format, ...)
{
	struct entry *entry = &w->log[w->logged++ % LOG_LEN];
	va_list args;

	entry->op = w->op;
	entry->from = from;
	entry->to = to;
	va_start(args, format);
	(void)vsnprintf(entry->text, TEXT, format, args);
	va_end(args);
}

/* Prints the failure and the last operations on the granule of at, and ends. */
static _Noreturn __attribute__((format(printf, 3, 4))) void
wrong(struct worker *w, uint64_t at, const char *format, ...)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint64_t granule = w->work->granule;
	uint64_t from = at / granule * granule, to = from + granule;
	uint64_t i = w->logged > LOG_LEN ? w->logged - LOG_LEN : 0;
	va_list args;

	pthread_mutex_lock(&lock);
	fprintf(stderr,
		"WRONG: seed %" PRIu64 " worker %u operation %" PRIu64
		", at %" PRIu64 " (granule %" PRIu64 " + %" PRIu64
		"), file of %" PRIu64 ": ",
		w->work->seed, w->number, w->op, at, at / granule, at % granule,
		w->work->shadow.header->len);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nThis worker's last operations on that granule:\n");
	for (; i < w->logged; i++) {
		const struct entry *entry = &w->log[i % LOG_LEN];

		if (entry->from < to && from < entry->to)
			fprintf(stderr,
				"  %6" PRIu64 " [%" PRIu64 ", %" PRIu64
				")%s %s\n",
				entry->op, entry->from, entry->to,
				at >= entry->from && at < entry->to ? " *" : "",
				entry->text);
	}
	fflush(stderr);
	_exit(1);
}

static void compare(struct worker *w, const char *got, uint64_t len,
		    uint64_t off, const char *what)
{
	const unsigned char *right = w->work->shadow.bytes + off;

	if (memcmp(got, right, len) == 0)
		return;
	for (uint64_t i = 0; i < len; i++)
		if ((unsigned char)got[i] != right[i])
			wrong(w, off + i,
			      "%s of %" PRIu64 " at %" PRIu64 ": %#x, not %#x",
			      what, len, off, (unsigned char)got[i], right[i]);
}

/* --- Operations on the shadow --- */

static uint64_t file_len(const struct worker *w)
{
	return w->work->shadow.header->len;
}

static void shadow_write(struct worker *w, const char *buf, uint64_t len,
			 uint64_t off)
{
	struct shadow *shadow = &w->work->shadow;

	memcpy(shadow->bytes + off, buf, len);
	memset(shadow->touched + off, 1, len);
}

static void shadow_zero(struct worker *w, uint64_t from, uint64_t to)
{
	struct shadow *shadow = &w->work->shadow;

	if (from >= to)
		return;
	memset(shadow->bytes + from, 0, to - from);
	memset(shadow->touched + from, 1, to - from);
}

static void shadow_resize(struct worker *w, uint64_t len)
{
	struct shadow *shadow = &w->work->shadow;
	uint64_t old = shadow->header->len;

	if (len < old)
		memset(shadow->bytes + len, 0, old - len);
	else
		memset(shadow->touched + old, 1, len - old);
	shadow->header->len = len;
}

/* --- Choice of a range --- */

/* The end of the worker's range, without making the file longer. */
static uint64_t limit(const struct worker *w)
{
	return w->owns_end ? min(w->to, file_len(w)) : w->to;
}

/* A range inside [w->from, end); false if that is empty. */
static bool pick(struct worker *w, uint64_t end, uint64_t *off, uint64_t *len)
{
	if (!choose_range(&w->choices, w->from, end, limit(w), off, len))
		return false;
	w->last = *off;
	w->last_len = *len;
	return true;
}

/* --- lseek --- */

static off_t seek(struct worker *w, uint64_t at, int whence)
{
	off_t found = lseek(w->fd, (off_t)at, whence);

	if (found < 0 && errno != ENXIO)
		wrong(w, at, "lseek: %s", strerror(errno));
	return found;
}

static void must_be_zero(struct worker *w, uint64_t from, uint64_t to,
			 const char *what)
{
	const unsigned char *bytes = w->work->shadow.bytes;

	for (uint64_t at = from; at < to; at++)
		if (bytes[at])
			wrong(w, at, "%s at %" PRIu64 " skips %#x", what, from,
			      bytes[at]);
}

static void sync_map(struct worker *w)
{
	if (w->map_dirty && msync(w->mapped, w->to - w->from, MS_SYNC) < 0)
		die("msync");
	w->map_dirty = false;
}

/* Searches from at on, for a number of steps, and checks the results. */
static void check_seeks(struct worker *w, uint64_t at, unsigned steps)
{
	uint64_t end = limit(w), granule = w->work->granule;

	sync_map(w);
	for (; at < end && steps; steps--) {
		off_t data = seek(w, at, SEEK_DATA), hole;

		if (data < 0) {
			must_be_zero(w, at, end, "no data");
			if (!w->owns_end)
				return;
			if (seek(w, file_len(w), SEEK_HOLE) >= 0)
				wrong(w, at, "SEEK_HOLE at the end");
			return;
		}
		if ((uint64_t)data < at)
			wrong(w, at, "SEEK_DATA went back to %jd",
			      (intmax_t)data);
		must_be_zero(w, at, min((uint64_t)data, end), "SEEK_DATA");
		if ((uint64_t)data >= end)
			return;
		if ((uint64_t)data > at && (uint64_t)data % granule)
			wrong(w, at, "SEEK_DATA is %jd: not a granule",
			      (intmax_t)data);
		hole = seek(w, (uint64_t)data, SEEK_HOLE);
		if (hole <= data)
			wrong(w, at, "SEEK_HOLE(%jd) is %jd", (intmax_t)data,
			      (intmax_t)hole);
		at = (uint64_t)hole;
	}
}

/* Call it after zeroing [from, to): the whole granules of it must be holes. */
static void check_hole(struct worker *w, uint64_t from, uint64_t to)
{
	uint64_t granule = w->work->granule;
	uint64_t start = (from + granule - 1) / granule * granule;

	sync_map(w);
	if (start + granule > to)
		return;
	if (seek(w, start, SEEK_HOLE) != (off_t)start)
		wrong(w, start, "no hole where zeros were just made");
	if (seek(w, start, SEEK_DATA) >= 0 &&
	    seek(w, start, SEEK_DATA) < (off_t)(to / granule * granule))
		wrong(w, start, "data where zeros were just made");
}

/* --- The operations --- */

static int any_fd(struct worker *w)
{
	return w->direct >= 0 && chance(w, 50) ? w->direct : w->fd;
}

static void op_read(struct worker *w)
{
	uint64_t off, len, end = w->owns_end ? w->to : limit(w), right;
	int fd = any_fd(w);
	ssize_t n;

	if (!pick(w, end, &off, &len))
		return;
	n = pread(fd, w->buf, len, (off_t)off);
	right = off < limit(w) ? min(len, limit(w) - off) : 0;
	if (n != (ssize_t)right)
		wrong(w, off, "read of %" PRIu64 ": %zd (%s)", len, n,
		      n < 0 ? strerror(errno) : "count");
	compare(w, w->buf, right, off,
		fd == w->direct ? "direct read" : "read");
}

static void op_write(struct worker *w)
{
	uint64_t off, len, end = w->to;
	int fd = any_fd(w);
	ssize_t n;

	/* Only some writes make the file longer. */
	if (w->owns_end && chance(w, 80))
		end = limit(w);
	if (!pick(w, end, &off, &len))
		return;
	fill(w, w->buf, len, off);
	note(w, off, off + len, "%swrite", fd == w->direct ? "direct " : "");
	n = pwrite(fd, w->buf, len, (off_t)off);
	if (n != (ssize_t)len)
		wrong(w, off, "write of %" PRIu64 ": %zd (%s)", len, n,
		      n < 0 ? strerror(errno) : "count");
	if (w->owns_end && off + len > file_len(w))
		shadow_resize(w, off + len);
	shadow_write(w, w->buf, len, off);
}

static void op_map_read(struct worker *w)
{
	uint64_t off, len;

	if (!w->mapped || !pick(w, limit(w), &off, &len))
		return;
	compare(w, w->mapped + (off - w->from), len, off, "mapped read");
}

static void op_map_write(struct worker *w)
{
	uint64_t off, len;

	if (!w->mapped || !pick(w, limit(w), &off, &len))
		return;
	fill(w, w->buf, len, off);
	note(w, off, off + len, "mapped write");
	memcpy(w->mapped + (off - w->from), w->buf, len);
	w->map_dirty = true;
	shadow_write(w, w->buf, len, off);
	if (chance(w, 50))
		sync_map(w);
}

static void op_zero(struct worker *w)
{
	static const int modes[] = {
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
	};
	int mode = modes[below(w, 3)];
	uint64_t off, len, end = w->to;
	bool grows;

	if (w->owns_end && chance(w, 80))
		end = limit(w);
	if (!pick(w, end, &off, &len))
		return;
	if (chance(w, 30))
		len = 1 + below(w, end - off);
	note(w, off, off + len, "fallocate %#x", mode);
	if (fallocate(any_fd(w), mode, (off_t)off, (off_t)len) < 0)
		wrong(w, off, "fallocate %#x of %" PRIu64 ": %s", mode, len,
		      strerror(errno));
	grows = w->owns_end && mode == FALLOC_FL_ZERO_RANGE &&
		off + len > file_len(w);
	if (grows)
		shadow_resize(w, off + len);
	shadow_zero(w, off, min(off + len, limit(w)));
	check_hole(w, off, min(off + len, limit(w)));
}

static void op_allocate(struct worker *w)
{
	uint64_t off, len;
	int mode = below(w, 2) ? FALLOC_FL_KEEP_SIZE : 0;

	if (!pick(w, w->to, &off, &len))
		return;
	note(w, off, off + len, "fallocate %#x", mode);
	if (fallocate(w->fd, mode, (off_t)off, (off_t)len) < 0)
		wrong(w, off, "fallocate %#x: %s", mode, strerror(errno));
	if (w->owns_end && mode == 0 && off + len > file_len(w))
		shadow_resize(w, off + len);
}

static void op_truncate(struct worker *w)
{
	uint64_t granule = w->work->granule;
	uint64_t old = file_len(w), len;

	if (!w->owns_end)
		return;
	switch (below(w, 8)) {
	case 0:
		len = chance(w, 30) ? w->to : old - (old - w->from) / 8;
		break;
	case 1:
	case 2:
		len = old - below(w, min(old - w->from, 3 * granule) + 1);
		break;
	case 3:
	case 4:
	case 5:
		len = old + below(w, min(w->to - old, 3 * granule) + 1);
		break;
	case 6:
		len = max(old, w->from + below(w, w->to - w->from + 1));
		break;
	default:
		len = w->from + below(w, w->to - w->from + 1);
	}
	if (chance(w, 20))
		len = max(w->from, len / granule * granule);
	w->last = min(old, len);
	w->last_len = 1;
	note(w, min(old, len), w->to, "truncate from %" PRIu64 " to %" PRIu64,
	     old, len);
	if (ftruncate(w->fd, (off_t)len) < 0)
		wrong(w, len, "truncate: %s", strerror(errno));
	shadow_resize(w, len);
}

/*
 * The flush of a granule of zeros in which the file ends stops at that end. The
 * device's bytes past the end must not reappear when the file grows.
 */
static void op_edge(struct worker *w)
{
	uint64_t granule = w->work->granule;
	uint64_t end = limit(w), from, cut;

	if (!w->owns_end || end < w->from + 4 * granule)
		return;
	from = (end - 2 * granule) / granule * granule;
	cut = from + 1 + below(w, end - from - 1);
	note(w, from, end, "data, punch, cut to %" PRIu64 ", fsync", cut);
	choose_data(&w->choices, w->buf, end - from);
	if (pwrite(w->fd, w->buf, end - from, (off_t)from) !=
		    (ssize_t)(end - from) ||
	    fsync(w->fd) < 0 ||
	    fallocate(w->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (off_t)from, (off_t)(end - from)) < 0 ||
	    ftruncate(w->fd, (off_t)cut) < 0 || fsync(w->fd) < 0)
		wrong(w, from, "at the end: %s", strerror(errno));
	shadow_write(w, w->buf, end - from, from);
	shadow_zero(w, from, end);
	shadow_resize(w, cut);
	w->map_dirty = false;
	op_truncate(w);
}

/* Checks that the device itself has the bytes of a random range. */
static void compare_device(struct worker *w, int fd, const char *what)
{
	uint64_t off, len, skip;

	if (!pick(w, limit(w), &off, &len))
		return;
	skip = off % PAGE;
	len = min(len, window(w) - 2 * PAGE);
	/* Aligned, and up to the end of the device. */
	pread_all(fd, w->buf,
		  min((skip + len + PAGE - 1) / PAGE * PAGE,
		      w->work->shadow.size - (off - skip)),
		  off - skip);
	compare(w, w->buf + skip, len, off, what);
}

static void op_fsync(struct worker *w)
{
	note(w, w->from, w->to, "fsync");
	if ((chance(w, 50) ? fsync : fdatasync)(any_fd(w)) < 0)
		wrong(w, w->from, "fsync: %s", strerror(errno));
	w->map_dirty = false;
	compare_device(w, w->work->device_direct, "the device after fsync");
}

static void open_files(struct worker *w)
{
	w->fd = open(w->work->path, O_RDWR | O_CLOEXEC);
	if (w->fd < 0)
		die(w->work->path);
	w->direct = -1;
	if (w->work->direct) {
		w->direct = open(w->work->path, O_RDWR | O_DIRECT | O_CLOEXEC);
		if (w->direct < 0)
			die("open with O_DIRECT");
	}
}

static void map_file(struct worker *w)
{
	w->mapped = NULL;
	if (!w->work->map)
		return;
	w->mapped = mmap(NULL, w->to - w->from, PROT_READ | PROT_WRITE,
			 MAP_SHARED, w->fd, (off_t)w->from);
	if (w->mapped == MAP_FAILED)
		die("mmap");
}

static void op_reopen(struct worker *w)
{
	bool map_anew = w->mapped && chance(w, 50);

	note(w, w->from, w->to, "close%s", map_anew ? ", unmapped" : "");
	if (map_anew && munmap(w->mapped, w->to - w->from) < 0)
		die("munmap");
	if (w->direct >= 0 && close(w->direct) < 0)
		wrong(w, w->from, "close: %s", strerror(errno));
	if (close(w->fd) < 0)
		wrong(w, w->from, "close: %s", strerror(errno));
	w->map_dirty = false;
	compare_device(w, w->work->device, "the device after close");
	open_files(w);
	if (map_anew)
		map_file(w);
}

/* O_TRUNC; only with a single worker. */
static void op_open_truncated(struct worker *w)
{
	int fd;

	if (w->work->workers > 1 || !chance(w, 20))
		return;
	note(w, 0, w->to, "O_TRUNC");
	fd = open(w->work->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0)
		wrong(w, 0, "O_TRUNC: %s", strerror(errno));
	shadow_resize(w, 0);
	if (chance(w, 80)) {
		uint64_t len = 1 + below(w, w->to);

		note(w, 0, len, "truncate to %" PRIu64, len);
		if (ftruncate(fd, (off_t)len) < 0)
			wrong(w, len, "truncate: %s", strerror(errno));
		shadow_resize(w, len);
	}
	if (close(fd) < 0)
		wrong(w, 0, "close: %s", strerror(errno));
}

/* --- Batches of direct reads and writes --- */

struct piece {
	bool is_read;
	char *buf;
	uint64_t len, off;
	int64_t result; /* bytes, or -errno */
};

/* Has the kernel cache pages while direct writes to them are under way. They
 * may have old or new bytes now; old ones must not stay in the cache. */
static void read_meanwhile(struct worker *w, const struct piece *pieces, long n)
{
	const struct piece *last = &pieces[n - 1];
	uint64_t off = pieces[0].off;

	if (pread(w->fd, w->unused, last->off + last->len - off, (off_t)off) <
	    0)
		die("read beside direct writes");
}

/* With io_submit(2); the kernel may complete them asynchronously. */
static void run_by_aio(struct worker *w, struct piece *pieces, long n)
{
	struct iocb blocks[BATCH_MAX], *list[BATCH_MAX];
	struct io_event events[BATCH_MAX];
	long got;

	memset(blocks, 0, sizeof(blocks));
	for (long i = 0; i < n; i++) {
		blocks[i].aio_fildes = (uint32_t)w->direct;
		blocks[i].aio_lio_opcode =
			pieces[i].is_read ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
		blocks[i].aio_buf = (uint64_t)(uintptr_t)pieces[i].buf;
		blocks[i].aio_nbytes = pieces[i].len;
		blocks[i].aio_offset = (int64_t)pieces[i].off;
		blocks[i].aio_data = (uint64_t)i;
		list[i] = &blocks[i];
	}
	for (got = 0; got < n;) {
		long r = syscall(SYS_io_submit, w->aio, n - got, list + got);

		if (r <= 0)
			die("io_submit");
		got += r;
	}
	read_meanwhile(w, pieces, n);
	for (got = 0; got < n;) {
		long r = syscall(SYS_io_getevents, w->aio, 1, n - got,
				 events + got, NULL);

		if (r < 0 && errno != EINTR)
			die("io_getevents");
		got += r > 0 ? r : 0;
	}
	for (long i = 0; i < n; i++)
		pieces[events[i].data].result = events[i].res;
}

#ifdef WITH_URING
static void run_by_uring(struct worker *w, struct piece *pieces, long n)
{
	for (long i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
		struct piece *piece = &pieces[i];

		if (piece->is_read)
			io_uring_prep_read(sqe, w->direct, piece->buf,
					   (unsigned)piece->len, piece->off);
		else
			io_uring_prep_write(sqe, w->direct, piece->buf,
					    (unsigned)piece->len, piece->off);
		io_uring_sqe_set_data(sqe, piece);
	}
	if (io_uring_submit(&w->ring) != n)
		die("io_uring_submit");
	read_meanwhile(w, pieces, n);
	for (long i = 0; i < n; i++) {
		struct io_uring_cqe *cqe;
		struct piece *piece;
		int r;

		do
			r = io_uring_wait_cqe(&w->ring, &cqe);
		while (r == -EINTR);
		if (r)
			die("io_uring_wait_cqe");
		piece = io_uring_cqe_get_data(cqe);
		piece->result = cqe->res;
		io_uring_cqe_seen(&w->ring, cqe);
	}
}

static void make_ring(struct worker *w)
{
	errno = -io_uring_queue_init(BATCH_MAX, &w->ring, 0);
	if (errno)
		die("io_uring");
}

static void end_ring(struct worker *w)
{
	io_uring_queue_exit(&w->ring);
}
#else
#define run_by_uring run_by_aio

static void make_ring(struct worker *w)
{
}

static void end_ring(struct worker *w)
{
}
#endif

static void check_pieces(struct worker *w, const struct piece *pieces, long n,
			 const char *by)
{
	for (long i = 0; i < n; i++) {
		const struct piece *piece = &pieces[i];

		if (piece->result != (int64_t)piece->len)
			wrong(w, piece->off, "batch of %" PRIu64 " by %s: %jd",
			      piece->len, by, (intmax_t)piece->result);
		if (piece->is_read)
			compare(w, piece->buf, piece->len, piece->off,
				"batch read");
		else
			shadow_write(w, piece->buf, piece->len, piece->off);
	}
}

static void op_batch(struct worker *w)
{
	bool by_uring = chance(w, 40);
	const char *by = by_uring ? "io_uring" : "libaio";
	struct piece pieces[BATCH_MAX] = { 0 };
	uint64_t off, len;
	long n = 0;

	if (w->direct < 0 || !pick(w, limit(w), &off, &len))
		return;
	for (uint64_t at = 0; at < len && n < BATCH_MAX; n++) {
		struct piece *piece = &pieces[n];

		piece->is_read = chance(w, 20);
		piece->len = min(1 + below(w, len / 3 + 1), len - at);
		piece->off = off + at;
		piece->buf = (piece->is_read ? w->buf2 : w->buf) + at;
		if (!piece->is_read) {
			fill(w, piece->buf, piece->len, piece->off);
			note(w, piece->off, piece->off + piece->len,
			     "batch write by %s", by);
		}
		at += piece->len;
	}
	(by_uring ? run_by_uring : run_by_aio)(w, pieces, n);
	check_pieces(w, pieces, n, by);
}

static void op_stat(struct worker *w)
{
	struct stat st;

	if (fstat(w->fd, &st) < 0)
		die("fstat");
	if (w->owns_end && (uint64_t)st.st_size != file_len(w))
		wrong(w, file_len(w), "st_size is %jd", (intmax_t)st.st_size);
	if (w->work->workers == 1 &&
	    (uint64_t)st.st_blocks > (file_len(w) + 511) / 512)
		wrong(w, 0, "st_blocks is %jd", (intmax_t)st.st_blocks);
}

static void op_seek(struct worker *w)
{
	uint64_t end = limit(w);

	if (end > w->from)
		check_seeks(w, w->from + below(w, end - w->from), 8);
}

static void op_walk(struct worker *w)
{
	if (chance(w, 10))
		check_seeks(w, w->from, 1000000);
}

typedef void (*op_fn)(struct worker *w);

static const struct {
	op_fn call;
	unsigned weight;
} ops[] = {
	{ op_edge, 2 },	    { op_read, 16 },	  { op_write, 26 },
	{ op_map_read, 8 }, { op_map_write, 10 }, { op_zero, 8 },
	{ op_allocate, 1 }, { op_truncate, 5 },	  { op_fsync, 3 },
	{ op_reopen, 2 },   { op_batch, 6 },	  { op_open_truncated, 1 },
	{ op_stat, 1 },	    { op_seek, 8 },	  { op_walk, 1 },
};

static op_fn pick_op(struct worker *w)
{
	uint64_t total = 0, chosen;
	size_t i = 0;

	for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++)
		total += ops[k].weight;
	chosen = below(w, total);
	while (chosen >= ops[i].weight)
		chosen -= ops[i++].weight;
	return ops[i].call;
}

/* Reads and checks the bytes around the last operation. */
static void read_around(struct worker *w)
{
	uint64_t granule = w->work->granule;
	uint64_t off = max(w->from, w->last - min(w->last, granule));
	uint64_t end = min(limit(w), min(w->last + w->last_len + granule,
					 off + w->work->longest));
	int fd = any_fd(w);

	if (off >= end)
		return;
	if (pread(fd, w->buf, end - off, (off_t)off) != (ssize_t)(end - off))
		wrong(w, off, "read around: %s", strerror(errno));
	compare(w, w->buf, end - off, off,
		fd == w->direct ? "direct read around" : "read around");
}

/*
 * In some runs the file is cut at the start and never gets as long as its
 * device again. The device must keep its bytes past that length.
 */
static void cap(struct worker *w)
{
	uint64_t most = w->to - w->from;

	if (!w->owns_end || below(w, 2))
		return;
	w->to -= below(w, most / 2);
	note(w, w->to, w->work->shadow.size, "truncate to %" PRIu64, w->to);
	if (ftruncate(w->fd, (off_t)w->to) < 0)
		die("truncate");
	shadow_resize(w, w->to);
}

static void read_all(struct worker *w)
{
	for (uint64_t at = w->from; at < limit(w);) {
		uint64_t len = min(w->work->longest, limit(w) - at);
		ssize_t n = pread(w->fd, w->buf, len, (off_t)at);

		if (n != (ssize_t)len)
			wrong(w, at, "read of %" PRIu64 ": %zd", len, n);
		compare(w, w->buf, len, at, "the last read");
		at += len;
	}
}

static void *work_main(void *data)
{
	struct worker *w = data;
	struct work *work = w->work;

	w->choices = (struct choices){
		.dice.state = work->seed * 1000003 + w->number,
		.granule = work->granule,
		.longest = work->longest,
	};
	w->log = calloc(LOG_LEN, sizeof(*w->log));
	if (!w->log || posix_memalign((void **)&w->buf, PAGE, window(w)) ||
	    posix_memalign((void **)&w->buf2, PAGE, window(w)) ||
	    posix_memalign((void **)&w->unused, PAGE, window(w)))
		die("memory");
	if (work->direct) {
		if (syscall(SYS_io_setup, BATCH_MAX, &w->aio) < 0)
			die("io_setup");
		make_ring(w);
	}
	open_files(w);
	cap(w);
	map_file(w);
	for (w->op = 1; w->op <= work->ops; w->op++) {
		uint64_t end;

		pick_op(w)(w);
		read_around(w);
		end = limit(w);
		if (end > w->from)
			check_seeks(w, w->from + below(w, end - w->from), 1);
	}
	read_all(w);
	check_seeks(w, w->from, 1000000);
	if (w->mapped && munmap(w->mapped, w->to - w->from) < 0)
		die("munmap");
	if ((w->direct >= 0 && close(w->direct) < 0) || close(w->fd) < 0)
		wrong(w, 0, "close: %s", strerror(errno));
	if (work->direct) {
		(void)syscall(SYS_io_destroy, w->aio);
		end_ring(w);
	}
	free(w->log);
	free(w->buf);
	free(w->buf2);
	free(w->unused);
	return NULL;
}

/* --- Noise --- */

static void *flusher(void *data)
{
	struct work *work = data;

	while (!atomic_load(&work->done)) {
		int fd = open(work->path, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || close(fd) < 0)
			die("open and close");
	}
	return NULL;
}

/*
 * The bytes are not checked, since workers write them at the same time. But the
 * reads fill the cache with pages, in which no old bytes may stay.
 */
static void *reader(void *data)
{
	struct work *work = data;
	int fd = open(work->path, O_RDONLY | O_CLOEXEC);
	int direct = work->direct
			     ? open(work->path, O_RDONLY | O_DIRECT | O_CLOEXEC)
			     : fd;
	struct dice dice = { work->seed };
	void *buf;

	if (fd < 0 || direct < 0 || posix_memalign(&buf, PAGE, 256 << 10))
		die("reader");
	while (!atomic_load(&work->done)) {
		uint64_t off = dice_below(&dice, work->shadow.size) / 512 * 512;

		if (pread(dice_below(&dice, 4) ? fd : direct, buf, 256 << 10,
			  (off_t)off) < 0)
			die("read beside the workers");
		/* Leave processor time for the workers. */
		(void)usleep(500);
	}
	free(buf);
	if (direct != fd)
		close(direct);
	close(fd);
	return NULL;
}

/* --- Commands --- */

/* Gives each worker its range. */
static void share_out(struct work *work, struct worker *workers)
{
	uint64_t part = work->shadow.size / work->workers, at = 0;

	/* Two workers share a page at their border, unless they map it. */
	if (work->map)
		part = part / PAGE * PAGE;
	else
		part -= part % 2 ? 0 : 1;
	for (unsigned i = 0; i < work->workers; i++) {
		bool last = i + 1 == work->workers;

		workers[i] = (struct worker){
			.work = work,
			.number = i,
			.from = at,
			.to = last ? work->shadow.size : at + part,
			.owns_end = last,
		};
		at += part;
	}
}

static void start_noise(struct work *work, pthread_t *threads)
{
	if (work->noise && (pthread_create(&threads[0], NULL, flusher, work) ||
			    pthread_create(&threads[1], NULL, reader, work)))
		die("thread");
}

static void end_noise(struct work *work, const pthread_t *threads)
{
	atomic_store(&work->done, true);
	for (int i = 0; work->noise && i < 2; i++)
		pthread_join(threads[i], NULL);
}

static int run_threads(struct work *work, struct worker *workers)
{
	pthread_t *threads = calloc(work->workers, sizeof(*threads));
	pthread_t noise[2];

	if (!threads)
		die("memory");
	start_noise(work, noise);
	for (unsigned i = 0; i < work->workers; i++)
		if (pthread_create(&threads[i], NULL, work_main, &workers[i]))
			die("thread");
	for (unsigned i = 0; i < work->workers; i++)
		pthread_join(threads[i], NULL);
	end_noise(work, noise);
	free(threads);
	return 0;
}

/* The noise is in this process. */
static int run_processes(struct work *work, struct worker *workers)
{
	pthread_t noise[2];
	int status = 0;

	for (unsigned i = 0; i < work->workers; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			/* All workers end at the first failure. */
			if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
				die("prctl");
			(void)work_main(&workers[i]);
			_exit(0);
		}
	}
	start_noise(work, noise);
	for (unsigned i = 0; i < work->workers; i++) {
		if (wait(&status) < 0)
			die("wait");
		if (status)
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
	}
	end_noise(work, noise);
	return 0;
}

static int run(struct work *work)
{
	struct worker *workers = calloc(work->workers, sizeof(*workers));
	int status;

	if (!workers)
		die("memory");
	share_out(work, workers);
	status = (work->processes ? run_processes : run_threads)(work, workers);
	free(workers);
	return status;
}

static int init(const char *device, const char *path, uint64_t seed)
{
	struct work work = { .granule = PAGE, .longest = LONGEST };
	struct worker w = { .work = &work, .choices.dice.state = seed };
	struct shadow *shadow = &work.shadow;
	uint64_t size;
	int fd = device_open(device, O_RDWR, &size);

	shadow_open(shadow, path, size);
	for (uint64_t at = 0; at < size;) {
		uint64_t len = min(1 + below(&w, 256 << 10), size - at);

		memset(shadow->bytes + at, 0, len);
		if (chance(&w, 70))
			memset(shadow->bytes + at, 0xaa, len);
		at += len;
	}
	if (pwrite(fd, shadow->bytes, size, 0) != (ssize_t)size ||
	    fsync(fd) < 0)
		die(device);
	close(fd);
	memcpy(shadow->initial, shadow->bytes, size);
	memset(shadow->touched, 0, size);
	*shadow->header = (struct header){ .size = size, .len = size };
	return 0;
}

static bool tail_is_right(const struct shadow *shadow, const char *tail,
			  const unsigned char *got, uint64_t at)
{
	if (strcmp(tail, "zero") == 0)
		return got[at] == 0;
	if (strcmp(tail, "keep") == 0)
		return shadow->touched[at] || got[at] == shadow->initial[at];
	return true;
}

static int finish(const char *device, const char *path, const char *tail)
{
	struct shadow shadow;
	unsigned char *got;
	uint64_t size;
	int fd = device_open(device, O_RDONLY, &size);

	shadow_open(&shadow, path, size);
	got = malloc(size);
	if (!got)
		die("memory");
	pread_all(fd, got, size, 0);
	close(fd);
	for (uint64_t at = 0; at < size; at++) {
		if (at < shadow.header->len
			    ? got[at] == shadow.bytes[at]
			    : tail_is_right(&shadow, tail, got, at))
			continue;
		fprintf(stderr,
			"WRONG: after unmounting a file of %" PRIu64
			" byte %" PRIu64 " of the device is %#x, not %#x"
			" (tail=%s, at mounting %#x, %s)\n",
			shadow.header->len, at, got[at], shadow.bytes[at], tail,
			shadow.initial[at],
			shadow.touched[at] ? "touched" : "untouched");
		return 1;
	}
	memcpy(shadow.bytes, got, size);
	memcpy(shadow.initial, got, size);
	memset(shadow.touched, 0, size);
	shadow.header->len = size;
	free(got);
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "random-ops: see the top of its source file\n");
	return 2;
}

static uint64_t number(const char *text)
{
	return text ? strtoull(text, NULL, 10) : 0;
}

int main(int argc, char **argv)
{
	struct work work = { .seed = 1,
			     .ops = 1000,
			     .granule = PAGE,
			     .workers = 1,
			     .longest = LONGEST };
	const char *tail = "keep", *command = argc > 1 ? argv[1] : "";
	char **arg = argv + 2;
	uint64_t size;

	for (; *arg && strncmp(*arg, "--", 2) == 0; arg++) {
		if (strcmp(*arg, "--map") == 0)
			work.map = true;
		else if (strcmp(*arg, "--direct") == 0)
			work.direct = true;
		else if (strcmp(*arg, "--noise") == 0)
			work.noise = true;
		else if (strcmp(*arg, "--seed") == 0)
			work.seed = number(*++arg);
		else if (strcmp(*arg, "--longest") == 0)
			work.longest = number(*++arg);
		else if (strcmp(*arg, "--ops") == 0)
			work.ops = number(*++arg);
		else if (strcmp(*arg, "--granule") == 0)
			work.granule = number(*++arg);
		else if (strcmp(*arg, "--threads") == 0 ||
			 strcmp(*arg, "--processes") == 0) {
			work.processes = strcmp(*arg, "--processes") == 0;
			work.workers = (unsigned)number(*++arg);
		} else if (strcmp(*arg, "--tail") == 0)
			tail = *++arg;
		else
			return usage();
	}
	argc -= (int)(arg - argv);
	if (strcmp(command, "init") == 0 && argc == 2)
		return init(arg[0], arg[1], work.seed);
	if (strcmp(command, "finish") == 0 && argc == 2)
		return finish(arg[0], arg[1], tail);
	if (strcmp(command, "run") != 0 || argc != 3 || !work.workers ||
	    !work.granule)
		return usage();
	work.path = arg[0];
	work.device = device_open(arg[1], O_RDONLY, &size);
	work.device_direct = device_open(arg[1], O_RDONLY | O_DIRECT, &size);
	shadow_open(&work.shadow, arg[2], size);
	return run(&work);
}
