/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The operations of a worker on its stripe.
 *
 * An operation that fails is a fault, unless a window of injected faults was
 * open since the worker has settled. It settles as a careful program does: it
 * syncs, and if that or any change has failed, it writes its data again, but
 * not its zeros (see "fsync and errors" in blksparsefs(8)), and syncs again.
 */
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- Mapped pages --- */

static _Thread_local sigjmp_buf bus_error;
static _Thread_local volatile sig_atomic_t copies;

static void on_bus_error(int sig)
{
	if (!copies)
		_exit(3);
	siglongjmp(bus_error, 1);
}

/* As memcpy(), one side of which is a mapping. False after SIGBUS. */
static bool copy_mapped(void *to, const void *from, uint64_t len)
{
	bool done = false;

	if (sigsetjmp(bus_error, 1) == 0) {
		copies = 1;
		memcpy(to, from, len);
		done = true;
	}
	copies = 0;
	return done;
}

void map_file(struct worker *w)
{
	uint64_t from = w->stripe->from;

	w->mapped = NULL;
	if (!w->file->mapped)
		return;
	w->mapped_len = w->stripe->to - from;
	w->mapped = mmap(NULL, w->mapped_len, PROT_READ | PROT_WRITE,
			 MAP_SHARED, w->fd, (off_t)from);
	if (w->mapped == MAP_FAILED) {
		w->mapped = NULL;
		may_fail(w, from, "mmap");
	}
}

void unmap_file(struct worker *w)
{
	if (w->mapped && munmap(w->mapped, w->mapped_len) < 0)
		soak_die("munmap");
	w->mapped = NULL;
}

bool sync_map(struct worker *w)
{
	if (!w->map_dirty || !w->mapped)
		return true;
	w->map_dirty = false;
	if (msync(w->mapped, w->mapped_len, MS_SYNC) == 0)
		return true;
	may_fail(w, w->stripe->from, "msync");
	return false;
}

/* --- Reading --- */

static int any_fd(struct worker *w)
{
	return w->direct >= 0 && chance(w, 50) ? w->direct : w->fd;
}

void read_range(struct worker *w, int fd, uint64_t off, uint64_t len,
		const char *how)
{
	uint64_t end = limit(w), right;
	ssize_t n = pread(fd, w->seen, len, (off_t)off);

	if (n < 0) {
		may_fail(w, off, how);
		return;
	}
	right = off < end ? soak_min(len, end - off) : 0;
	/* A read of many pages ends before the first that fails. */
	if ((uint64_t)n > right ||
	    ((uint64_t)n < right && !shadow_is_unsure(w->file, w->stripe) &&
	     !atomic_load(&w->soak->ending)))
		wrong(w, off, "%s of %" PRIu64 ": %zd bytes", how, len, n);
	compare(w, w->seen, (uint64_t)n, off, how);
}

static void op_read(struct worker *w)
{
	uint64_t off, len, end = w->owns_end ? w->stripe->to : limit(w);
	int fd = any_fd(w);

	if (pick(w, end, &off, &len))
		read_range(w, fd, off, len,
			   fd == w->direct ? "direct read" : "read");
}

static void op_map_read(struct worker *w)
{
	uint64_t off, len;

	if (!w->mapped || !pick(w, limit(w), &off, &len))
		return;
	if (copy_mapped(w->seen, w->mapped + (off - w->stripe->from), len))
		compare(w, w->seen, len, off, "mapped read");
	else
		may_fail(w, off, "mapped read");
}

/* Reads a little around the last operation. */
static void read_around(struct worker *w)
{
	uint64_t granule = w->soak->granule;
	uint64_t off =
		soak_max(w->stripe->from, w->last - soak_min(w->last, granule));
	uint64_t end = soak_min(limit(w), w->last + w->last_len + granule);
	int fd = any_fd(w);

	if (off < end)
		read_range(w, fd, off, soak_min(end - off, SOAK_LONGEST),
			   fd == w->direct ? "direct read around"
					   : "read around");
}

/* --- Changing --- */

void change_done(struct worker *w, bool failed)
{
	shadow_done(w->stripe, failed);
}

void file_ends(struct worker *w, uint64_t len)
{
	uint64_t old = atomic_load(&w->file->len);

	if (len < old)
		shadow_cut(w->file, w->stripe, len, old - len);
	else
		shadow_zero(w->file, w->stripe, old, len - old);
	atomic_store(&w->file->len, len);
}

/*
 * Linux 6.18 loses bytes of a write past the end of a FUSE file if it writes a
 * store to the page of the old end back meanwhile: it zeroes that page behind
 * the old end (iomap_writeback_handle_eof() in fs/iomap/buffered-io.c). So
 * there is no such store.
 */
static void grow_for(struct worker *w, uint64_t end)
{
	if (!w->owns_end || end <= atomic_load(&w->file->len))
		return;
	(void)sync_map(w);
	file_ends(w, end);
}

/* Makes the file as long as the shadow says, after a change that has failed, or
 * has failed to change the length. */
static void set_length(struct worker *w)
{
	uint64_t len = atomic_load(&w->file->len);

	if (!w->owns_end)
		return;
	while (!w->over && ftruncate(w->fd, (off_t)len) < 0) {
		may_fail(w, len, "truncate");
		(void)usleep(20000);
	}
}

/* The end of a change, which most times does not make the file longer. */
static uint64_t change_end(struct worker *w)
{
	return w->owns_end && !chance(w, 20) ? limit(w) : w->stripe->to;
}

static void op_write(struct worker *w)
{
	uint64_t off, len, end = change_end(w);
	int fd = any_fd(w);
	ssize_t n;

	if (!pick(w, end, &off, &len))
		return;
	fill(w, w->buf, len, off);
	note(w, off, off + len, "%swrite", fd == w->direct ? "direct " : "");
	grow_for(w, off + len);
	shadow_data(w->file, w->stripe, off, w->buf, len);
	n = pwrite(fd, w->buf, len, (off_t)off);
	change_done(w, n != (ssize_t)len);
	if (n == (ssize_t)len)
		return;
	if (n >= 0)
		errno = EIO;
	may_fail(w, off, "write");
	set_length(w);
}

static void op_map_write(struct worker *w)
{
	uint64_t off, len;
	bool done;

	if (!w->mapped || !pick(w, limit(w), &off, &len))
		return;
	fill(w, w->buf, len, off);
	note(w, off, off + len, "mapped write");
	shadow_data(w->file, w->stripe, off, w->buf, len);
	done = copy_mapped(w->mapped + (off - w->stripe->from), w->buf, len);
	w->map_dirty = true;
	change_done(w, !done);
	if (!done)
		may_fail(w, off, "mapped write");
	if (chance(w, 50))
		(void)sync_map(w);
}

static void op_zero(struct worker *w)
{
	static const int modes[] = {
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
	};
	int mode = modes[below(w, 3)];
	uint64_t off, len, end = change_end(w), stop;

	if (!pick(w, end, &off, &len))
		return;
	if (chance(w, 30))
		len = 1 + below(w, end - off);
	note(w, off, off + len, "fallocate %#x", (unsigned)mode);
	if (mode == FALLOC_FL_ZERO_RANGE)
		grow_for(w, off + len);
	stop = soak_min(off + len, limit(w));
	if (off < stop)
		shadow_zero(w->file, w->stripe, off, stop - off);
	if (fallocate(any_fd(w), mode, (off_t)off, (off_t)len) == 0) {
		change_done(w, false);
		(void)sync_map(w);
		check_hole(w, off, stop);
		return;
	}
	change_done(w, true);
	may_fail(w, off, "fallocate");
	set_length(w);
}

static uint64_t pick_size(struct worker *w)
{
	uint64_t granule = w->soak->granule, len;
	uint64_t old = atomic_load(&w->file->len);
	uint64_t from = w->stripe->from, to = w->stripe->to;

	switch (below(w, 8)) {
	case 0:
		len = to;
		break;
	case 1:
	case 2:
		len = old - below(w, soak_min(old - from, 3 * granule) + 1);
		break;
	case 3:
	case 4:
	case 5:
		len = old + below(w, soak_min(to - old, 3 * granule) + 1);
		break;
	default:
		len = from + below(w, to - from + 1);
	}
	if (chance(w, 20))
		len = soak_max(from, len / granule * granule);
	return len;
}

static void op_truncate(struct worker *w)
{
	uint64_t old = atomic_load(&w->file->len), len;

	if (!w->owns_end)
		return;
	len = pick_size(w);
	w->last = soak_min(old, len);
	w->last_len = 1;
	note(w, w->last, w->stripe->to, "truncate from %" PRIu64 " to %" PRIu64,
	     old, len);
	file_ends(w, len);
	if (ftruncate(w->fd, (off_t)len) == 0) {
		change_done(w, false);
		return;
	}
	change_done(w, true);
	may_fail(w, len, "truncate");
	set_length(w);
}

/* --- Durability --- */

bool sync_file(struct worker *w, int fd)
{
	struct promise promise;

	promise_begin(w->file, &promise);
	if ((chance(w, 50) ? fsync : fdatasync)(fd) < 0) {
		may_fail(w, w->stripe->from, "fsync");
		return false;
	}
	promise_keep(w->file, &promise);
	return true;
}

static void op_fsync(struct worker *w)
{
	note(w, w->stripe->from, w->stripe->to, "fsync");
	(void)sync_file(w, any_fd(w));
}

void open_files(struct worker *w)
{
	w->direct = -1;
	w->fd = open(w->file->path, O_RDWR | O_CLOEXEC);
	if (w->fd >= 0)
		w->direct = open(w->file->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (w->direct >= 0)
		return;
	may_fail(w, w->stripe->from, "open");
}

void close_files(struct worker *w)
{
	struct promise promise;

	promise_begin(w->file, &promise);
	if ((w->direct >= 0 && close(w->direct) < 0) ||
	    (w->fd >= 0 && close(w->fd) < 0))
		may_fail(w, w->stripe->from, "close");
	else if (w->soak->closes_count && !w->over)
		promise_keep(w->file, &promise);
	w->fd = w->direct = -1;
}

/* Opening may fail in a window; the worker cannot go on before. */
static void open_again(struct worker *w)
{
	for (;;) {
		open_files(w);
		if (w->direct >= 0 || w->over)
			return;
		if (w->fd >= 0)
			(void)close(w->fd);
		(void)usleep(20000);
	}
}

static void op_reopen(struct worker *w)
{
	/* A failed fsync is reported to handles that were open. */
	if (shadow_is_unsure(w->file, w->stripe))
		return;
	note(w, w->stripe->from, w->stripe->to, "close");
	if (chance(w, 50))
		unmap_file(w);
	close_files(w);
	open_again(w);
	if (!w->over && !w->mapped)
		map_file(w);
}

static void op_stat(struct worker *w)
{
	struct stat st;

	if (fstat(w->fd, &st) < 0)
		may_fail(w, 0, "fstat");
	else if (w->owns_end &&
		 (uint64_t)st.st_size != atomic_load(&w->file->len))
		wrong(w, limit(w), "st_size is %jd", (intmax_t)st.st_size);
}

static void op_seek(struct worker *w)
{
	uint64_t end = limit(w), from = w->stripe->from;

	if (end <= from || !sync_map(w))
		return;
	check_seeks(w, w->fd, from + below(w, end - from), end, 8);
}

/* As if memory was short. */
static void op_drop(struct worker *w)
{
	(void)posix_fadvise(w->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void op_walk(struct worker *w)
{
	if (chance(w, 10) && sync_map(w))
		check_seeks(w, w->fd, w->stripe->from, limit(w), 1000000);
}

/* --- After faults --- */

static bool rewrite_range(struct worker *w, uint64_t off, uint64_t end)
{
	end = soak_min(end, limit(w));
	while (off < end) {
		uint64_t len = soak_min(end - off, SOAK_LONGEST);

		if (pwrite(w->fd, w->file->now + off, len, (off_t)off) !=
		    (ssize_t)len) {
			may_fail(w, off, "write again");
			return false;
		}
		off += len;
	}
	return true;
}

/* Only the worker itself adds records; others drop none while it is unsure. */
static bool rewrite_data(struct worker *w)
{
	struct stripe *stripe = w->stripe;

	note(w, stripe->from, stripe->to, "all data again");
	for (uint32_t i = 0; i < stripe->count; i++) {
		const struct record *record = &stripe->records[i];

		if ((record->kind == CHANGE_DATA || record->failed) &&
		    !rewrite_range(w, record->off, record->off + record->len))
			return false;
	}
	return true;
}

/*
 * Each handle reports a failure once. The mapping may have one of its own, of
 * before the file was opened again. After a failure to write back stores, the
 * kernel fails the next direct read, too (filemap_write_and_wait_range() in
 * mm/filemap.c).
 */
static bool sync_all(struct worker *w)
{
	bool first = fsync(w->fd) == 0;
	bool second = fsync(w->direct) == 0;
	bool third =
		!w->mapped || msync(w->mapped, w->mapped_len, MS_SYNC) == 0;

	bool fourth = pread(w->direct, w->seen, 1, 0) >= 0;

	note(w, w->stripe->from, w->stripe->to, "fsync of all: %d %d %d %d",
	     first, second, third, fourth);
	return first && second && third && fourth;
}

/* False if a window has begun. */
static bool repair(struct worker *w, unsigned window)
{
	for (unsigned tries = 0; tries < 100 && !w->over; tries++) {
		bool done = (!w->rewrite || rewrite_data(w)) && sync_all(w);

		if (atomic_load(&w->file->windows) != window)
			return false;
		if (done) {
			promise_own(w->file, w->stripe);
			return true;
		}
		if (atomic_load(&w->soak->ending))
			w->over = true;
		w->rewrite = true;
	}
	if (!w->over)
		wrong(w, w->stripe->from, "the disk is well, but fsync fails");
	return false;
}

void settle(struct worker *w)
{
	unsigned window = atomic_load(&w->file->windows);

	if (window % 2 || window == atomic_load(&w->stripe->settled) ||
	    w->over || !repair(w, window))
		return;
	w->rewrite = false;
	w->map_dirty = false;
	atomic_store(&w->stripe->settled, window);
}

/* Waits for the end of a window if the shadow is full. A window that is open
 * when the program is killed does not end. */
static void make_room(struct worker *w)
{
	while (!shadow_has_room(w->stripe, SOAK_LONGEST) && !w->over) {
		settle(w);
		if (!shadow_is_unsure(w->file, w->stripe))
			(void)sync_file(w, w->fd);
		else if (atomic_load(&w->soak->ending))
			w->over = true;
		else
			(void)usleep(10000);
	}
}

/* --- The loop --- */

static const struct {
	const char *name;
	void (*call)(struct worker *w);
	unsigned weight;
} ops[] = {
	{ "read", op_read, 16 },	{ "write", op_write, 26 },
	{ "map read", op_map_read, 8 }, { "map write", op_map_write, 10 },
	{ "zero", op_zero, 10 },	{ "truncate", op_truncate, 6 },
	{ "fsync", op_fsync, 4 },	{ "reopen", op_reopen, 2 },
	{ "stat", op_stat, 2 },		{ "seek", op_seek, 10 },
	{ "walk", op_walk, 2 },		{ "drop pages", op_drop, 2 },
};

static size_t pick_op(struct worker *w)
{
	uint64_t total = 0, chosen;
	size_t i = 0;

	for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++)
		total += ops[k].weight;
	chosen = below(w, total);
	while (chosen >= ops[i].weight)
		chosen -= ops[i++].weight;
	return i;
}

static void one_operation(struct worker *w)
{
	size_t i = pick_op(w);

	pthread_rwlock_rdlock(&w->file->whole);
	op_begin(w, ops[i].name);
	make_room(w);
	if (!w->over)
		ops[i].call(w);
	if (!w->over)
		read_around(w);
	op_end(w);
	pthread_rwlock_unlock(&w->file->whole);
}

void wait_while_paused(struct worker *w)
{
	while (atomic_load(&w->soak->pause) && !finishes(w)) {
		atomic_store(&w->state->idle, true);
		(void)usleep(10000);
	}
	atomic_store(&w->state->idle, false);
}

static void settle_beside_others(struct worker *w)
{
	if (!shadow_is_unsure(w->file, w->stripe))
		return;
	pthread_rwlock_rdlock(&w->file->whole);
	settle(w);
	pthread_rwlock_unlock(&w->file->whole);
}

/* All faults are over, and the worker's stripe must be right. */
static void last_look(struct worker *w)
{
	while (!w->over && shadow_is_unsure(w->file, w->stripe)) {
		settle_beside_others(w);
		(void)usleep(1000);
	}
	pthread_rwlock_rdlock(&w->file->whole);
	op_begin(w, "last look");
	if (!w->over)
		(void)sync_map(w);
	for (uint64_t at = w->stripe->from; at < limit(w) && !w->over;) {
		uint64_t len = soak_min(SOAK_LONGEST, limit(w) - at);

		read_range(w, w->fd, at, len, "last read");
		at += len;
	}
	if (!w->over)
		check_seeks(w, w->fd, w->stripe->from, limit(w), 1000000);
	unmap_file(w);
	close_files(w);
	op_end(w);
	pthread_rwlock_unlock(&w->file->whole);
}

static void work_on_file(struct worker *w)
{
	uint64_t ops_left = w->soak->ops ? w->soak->ops : UINT64_MAX;

	open_again(w);
	if (!w->over)
		map_file(w);
	for (; ops_left-- && !finishes(w); w->op++) {
		wait_while_paused(w);
		settle_beside_others(w);
		if (!w->over && w->owns_end && below(w, 150) == 0)
			op_whole(w);
		else if (!w->over)
			one_operation(w);
	}
	last_look(w);
}

static void on_signal(int sig)
{
}

/* Some calls are restarted after a signal, and some are not. */
static void handle_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	(void)sigaction(SIGUSR1, &action, NULL);
	(void)sigaction(SIGALRM, &action, NULL);
	action.sa_flags = SA_RESTART;
	(void)sigaction(SIGUSR2, &action, NULL);
	action.sa_handler = on_bus_error;
	action.sa_flags = 0;
	(void)sigaction(SIGBUS, &action, NULL);
}

void *work_main(void *data)
{
	struct worker *w = data;
	size_t room = SOAK_LONGEST + 2 * SOAK_PAGE;

	handle_signals();
	if (posix_memalign((void **)&w->buf, SOAK_PAGE, room) ||
	    posix_memalign((void **)&w->seen, SOAK_PAGE, room))
		soak_die("memory");
	atomic_store(&w->state->tid, (int)syscall(SYS_gettid));
	if (w->soak->mode == SOAK_READ)
		work_on_node(w);
	else
		work_on_file(w);
	atomic_store(&w->state->tid, 0);
	free(w->buf);
	free(w->seen);
	return NULL;
}
