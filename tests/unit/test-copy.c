/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Copying one fake device to another: the exact reads, writes and punches, the
 * content of the target, and the error and progress that the caller gets.
 */
#include "unit.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/changes.h"
#include "blksparse.h"
#include "device/read-queue.h"
#include "fake-device.h"
#include "sparse/sparse.h"

enum { G = 4096, MIB = 1 << 20, SIZE = 5 * MIB + 512 };

struct both {
	struct fake *from, *to;
	struct bsp_sparse *source, *target;
	struct bsp_progress progress;
	GError *error; /* of the last copy that failed */
	unsigned asked;
};

/* Makes a target that is full of old bytes. */
static struct both both_from(struct fake *from, uint64_t target_size)
{
	struct both b = { .from = from, .to = fake_new(target_size) };

	memset(fake_bytes(b.to), 0xaa, target_size);
	fake_make_writable(b.to, 1 << FAKE_PUNCH);
	b.source = bsp_sparse_new(fake_device(b.from), NULL, NULL);
	b.target = bsp_sparse_new(fake_device(b.to), NULL, NULL);
	assert_non_null(b.source);
	assert_non_null(b.target);
	return b;
}

/* Makes a source with some data as well. */
static struct both both_new(uint64_t target_size)
{
	struct fake *from = fake_new(SIZE);

	memset(fake_bytes(from) + 3 * G, 'a', 2 * G);
	memset(fake_bytes(from) + 2 * MIB - 100, 'b', 200);
	fake_bytes(from)[SIZE - 1] = 'c';
	return both_from(from, target_size);
}

static void both_free(struct both *b)
{
	bsp_sparse_free(b->source);
	bsp_sparse_free(b->target);
	g_clear_error(&b->error);
}

static bool copy(struct both *b, const struct bsp_transfer_options *options)
{
	g_clear_error(&b->error);
	return bsp_copy(b->source, b->target, options, &b->progress, &b->error);
}

/* Asserts that a copy fails with this code, in this phase, and that the message
 * contains the text. */
static void assert_fails(struct both *b,
			 const struct bsp_transfer_options *options,
			 enum bsp_error code, enum bsp_phase phase,
			 const char *message)
{
	assert_false(copy(b, options));
	assert_true(g_error_matches(b->error, BSP_ERROR, (int)code));
	assert_int_equal(b->progress.phase, phase);
	assert_int_equal(b->progress.done, 0);
	assert_non_null(strstr(b->error->message, message));
}

static uint64_t bytes_in(const struct fake_call *calls, size_t n,
			 enum fake_kind kind)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += calls[i].kind == kind ? calls[i].len : 0;
	return sum;
}

static void a_copy_has_the_source_and_keeps_the_tail(void **state)
{
	for (unsigned jobs = 1; jobs <= 8; jobs += 7) {
		const struct bsp_transfer_options options = { .jobs = jobs };
		struct both b = both_new(7 * MIB);
		const struct fake_call *calls;
		uint64_t read = 0;
		size_t n;

		assert_true(copy(&b, &options));
		assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
		for (size_t i = SIZE; i < 7 * MIB; i++)
			assert_int_equal(fake_bytes(b.to)[i], 0xaa);
		/* The data, to the granule; and all was read, once. */
		assert_int_equal(b.progress.data, 4 * G + 512);
		assert_int_equal(b.progress.data + b.progress.hole, SIZE);
		n = fake_reads(b.from, &calls);
		for (size_t i = 0; i < n; i++)
			read += calls[i].len;
		assert_int_equal(read, SIZE);
		n = fake_changes(b.to, &calls);
		assert_int_equal(bytes_in(calls, n, FAKE_WRITE), 4 * G + 512);
		assert_int_equal(bytes_in(calls, n, FAKE_PUNCH),
				 SIZE - 4 * G - 512);
		assert_true(fake_flushes(b.to) > 0);
		both_free(&b);
	}
}

static void a_target_that_is_zero_is_not_zeroed_again(void **state)
{
	const struct bsp_transfer_options options = { .target_is_zero = true };
	struct both b = both_new(SIZE);
	const struct fake_call *calls;
	size_t n;

	memset(fake_bytes(b.to), 0, SIZE);
	assert_true(copy(&b, &options));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	n = fake_changes(b.to, &calls);
	assert_int_equal(bytes_in(calls, n, FAKE_PUNCH), 0);
	assert_int_equal(bytes_in(calls, n, FAKE_WRITE), 4 * G + 512);
	both_free(&b);
}

static void a_hole_that_the_source_knows_is_not_read(void **state)
{
	struct both b = both_new(SIZE);
	const struct fake_call *calls;
	size_t n;

	fake_know_zeros(b.from, 2 * MIB + 100, 3 * MIB);
	b.source->spot_checks.unchecked = 0; /* no check */
	assert_true(copy(&b, NULL));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	n = fake_reads(b.from, &calls);
	for (size_t i = 0; i < n; i++)
		assert_true(calls[i].off + calls[i].len <= 2 * MIB + G ||
			    calls[i].off >= 5 * MIB);
	both_free(&b);
}

/* The source's answers are from before its own write. */
static void data_that_the_source_wrote_is_copied(void **state)
{
	struct bsp_changes *changes;
	struct fake *from = fake_new(SIZE);
	struct both b;
	char buf[512];

	memset(buf, 'w', sizeof(buf));
	fake_make_writable(from, 1 << FAKE_PUNCH);
	b = both_from(from, SIZE);
	fake_know_zeros(from, 0, SIZE);
	assert_true(copy(&b, NULL));
	/* Parts of a granule, of two, and of the short last one. */
	assert_int_equal(bsp_sparse_write(b.source, MIB + 100, buf, 512), 512);
	assert_int_equal(bsp_sparse_write(b.source, 3 * MIB - 256, buf, 512),
			 512);
	assert_int_equal(bsp_sparse_write(b.source, 5 * MIB, buf, 512), 512);
	changes = bsp_diff(b.source, b.target, NULL, &b.progress, NULL);
	assert_non_null(changes);
	assert_int_equal(b.progress.data, 3 * G + 512);
	bsp_changes_free(changes);
	assert_true(copy(&b, NULL));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	assert_int_equal(b.progress.data, 3 * G + 512);
	both_free(&b);
}

static void verifying_reads_the_holes_that_the_source_knows(void **state)
{
	const struct bsp_transfer_options options = { .verify = true };
	struct both b = both_new(SIZE);

	/* Wrong: the byte is not zero. A file system may err like that. */
	fake_know_zeros(b.from, 2 * MIB + G, 2 * MIB);
	b.source->spot_checks.unchecked = 0; /* no check finds it */
	fake_bytes(b.from)[3 * MIB + 5] = 'x';
	assert_fails(&b, &options, BSP_ERROR_DIFFERS, BSP_PHASE_VERIFY,
		     "at byte 3145733");
	both_free(&b);
}

/* The first lie passes unchecked, the second is found out. */
static void lie_about_the_rest(void *data)
{
	struct both *b = data;

	if (b->asked++ == 0)
		fake_know_zeros(b->from, 0, 4 * MIB);
	else
		b->source->spot_checks.unchecked = UINT64_C(1) << 40;
}

static void a_source_that_lies_is_copied_again(void **state)
{
	for (int verify = 0; verify < 2; verify++) {
		const struct bsp_transfer_options options = { .verify =
								      verify };
		struct both b = both_new(SIZE);

		b.source->spot_checks.unchecked = 0;
		b.source->spot_checks.patience_ms = 0;
		fake_know_zeros(b.from, 0, MIB);
		fake_on_question(b.from, lie_about_the_rest, &b);
		memset(fake_bytes(b.from), 'a', 4 * MIB);
		assert_true(copy(&b, &options));
		assert_true(atomic_load(&b.source->distrusted));
		assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
		assert_int_equal(b.progress.data, 4 * MIB + 512);
		assert_int_equal(b.progress.data + b.progress.hole, SIZE);
		both_free(&b);
	}
}

static void lie_about_the_rest_of_the_target(void *data)
{
	struct both *b = data;

	if (b->asked++ == 0)
		fake_know_zeros(b->to, 0, 4 * MIB);
	else
		b->target->spot_checks.unchecked = UINT64_C(1) << 40;
}

/* Old bytes must not stay where the target said that it is zero. */
static void a_target_that_lies_is_zeroed(void **state)
{
	struct both b = both_new(SIZE);

	b.target->spot_checks.unchecked = 0;
	fake_know_zeros(b.to, 0, MIB);
	fake_on_question(b.to, lie_about_the_rest_of_the_target, &b);
	assert_true(copy(&b, NULL));
	assert_true(atomic_load(&b.target->distrusted));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	both_free(&b);
}

static void a_target_that_is_too_small_is_not_written(void **state)
{
	struct both b = both_new(SIZE - 512);

	assert_fails(&b, NULL, BSP_ERROR_TOO_SMALL, BSP_PHASE_TRANSFER,
		     "too small");
	assert_int_equal(fake_changes(b.to, NULL), 0);
	assert_int_equal(bsp_sparse_size(b.target), SIZE - 512);
	assert_int_equal(fake_reads(b.from, NULL), 0);
	both_free(&b);
}

static void a_failure_names_its_phase_and_its_place(void **state)
{
	struct both b = both_new(SIZE);

	fake_fail_reads(b.from, 3 * MIB + 5, 1, EIO);
	assert_fails(&b, NULL, BSP_ERROR_FAILED, BSP_PHASE_TRANSFER,
		     "reading fake at byte 3145728: Input/output error");
	both_free(&b);

	b = both_new(SIZE);
	fake_fail_writes(b.to, 3 * G, 1, EIO);
	assert_fails(&b, NULL, BSP_ERROR_FAILED, BSP_PHASE_TRANSFER,
		     "writing fake at byte 12288: Input/output error");
	both_free(&b);

	b = both_new(SIZE);
	fake_fail_flush(b.to, EIO);
	assert_fails(&b, NULL, BSP_ERROR_FAILED, BSP_PHASE_FLUSH,
		     "Input/output error");
	both_free(&b);

	b = both_new(SIZE);
	fake_fail_writes(b.to, MIB, 512, EIO); /* where a hole is zeroed */
	assert_fails(&b, NULL, BSP_ERROR_FAILED, BSP_PHASE_FLUSH,
		     "Input/output error");
	both_free(&b);
}

/* Writes to the source, in the flush between copying and verifying. */
static void change_late(void *data)
{
	struct both *b = data;

	fake_write(b->from, 4 * MIB + 7, 1, 'x');
}

static void change_last_byte(void *data)
{
	struct both *b = data;

	fake_write(b->from, SIZE - 1, 1, 'x');
}

static void verifying_finds_a_byte_that_differs(void **state)
{
	const struct bsp_transfer_options options = { .verify = true };
	struct both b = both_new(SIZE);

	assert_true(copy(&b, &options));
	both_free(&b);

	b = both_new(SIZE);
	/* Data, so that verifying reads it again. */
	fake_bytes(b.from)[4 * MIB] = 'y';
	fake_on_flush(b.to, change_late, &b);
	assert_fails(&b, &options, BSP_ERROR_DIFFERS, BSP_PHASE_VERIFY,
		     "at byte 4194311");
	both_free(&b);

	b = both_new(SIZE);
	fake_bytes(b.from)[SIZE - 2] = 'y';
	fake_on_flush(b.to, change_last_byte, &b);
	assert_fails(&b, &options, BSP_ERROR_DIFFERS, BSP_PHASE_VERIFY,
		     "is not what");
	both_free(&b);
}

struct watched {
	uint64_t last;
	unsigned calls;
	bool interrupt;
	sem_t asked;
	atomic_bool missed; /* several readers wait */
};

static void on_progress(void *data, const struct bsp_progress *now)
{
	struct watched *w = data;

	assert_true(now->done >= w->last && now->done <= now->size);
	assert_true(now->size_known);
	assert_int_equal(now->size, SIZE);
	w->last = now->done;
	w->calls++;
}

static bool is_interrupted(void *data)
{
	struct watched *w = data;

	if (w->interrupt)
		sem_post(&w->asked);
	return w->interrupt;
}

/* Waits, in a read, until the caller of the copy asked for interrupts: the copy
 * could be done before that. */
static void wait_for_question(void *data)
{
	struct watched *w = data;
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 20;
	if (sem_clockwait(&w->asked, CLOCK_MONOTONIC, &until))
		atomic_store(&w->missed, true);
	sem_post(&w->asked);
}

static void progress_reaches_the_end_and_interrupts_end_it(void **state)
{
	struct watched w = { 0 };
	const struct bsp_transfer_options options = {
		.interrupted = is_interrupted,
		.progress = on_progress,
		.data = &w,
	};
	struct both b = both_new(SIZE);

	assert_true(copy(&b, &options));
	assert_true(w.calls > 0);
	assert_int_equal(w.last, SIZE);
	assert_int_equal(b.progress.done, SIZE);
	both_free(&b);

	b = both_new(SIZE);
	w = (struct watched){ .interrupt = true };
	sem_init(&w.asked, 0, 0);
	fake_on_read(b.from, wait_for_question, &w);
	assert_fails(&b, &options, BSP_ERROR_INTERRUPTED, BSP_PHASE_TRANSFER,
		     "interrupted");
	assert_false(w.missed);
	sem_destroy(&w.asked);
	both_free(&b);
}

/* Holds the last piece back until the device was punched, or 20 seconds. */
struct patient {
	struct fake *to;
	unsigned left; /* reads */
	bool zeroed;
};

static void wait_for_zeros(void *data)
{
	struct patient *p = data;

	if (--p->left)
		return;
	for (int i = 0; i < 20000 && !p->zeroed; i++) {
		const struct fake_call *calls;
		size_t n = fake_changes(p->to, &calls);

		p->zeroed = bytes_in(calls, n, FAKE_PUNCH) > 0;
		if (!p->zeroed)
			g_usleep(1000);
	}
}

static void holes_are_zeroed_while_the_copy_goes_on(void **state)
{
	const struct bsp_transfer_options options = { .jobs = 1 };
	enum { PIECES = 48 };
	struct fake *from = fake_new(PIECES * MIB);
	struct both b = both_from(from, PIECES * MIB);
	struct patient p = { .to = b.to, .left = PIECES };

	fake_bytes(from)[8 * MIB] = 'd';
	fake_on_read(from, wait_for_zeros, &p);
	assert_true(copy(&b, &options));
	assert_int_equal(p.left, 0);
	assert_true(p.zeroed);
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), PIECES * MIB);
	both_free(&b);
}

struct readers {
	atomic_uint now, most;
};

/* The first stays until there were two, or 20 seconds. */
static void count_readers(void *data)
{
	struct readers *readers = data;
	unsigned now = atomic_fetch_add(&readers->now, 1) + 1;
	unsigned most = atomic_load(&readers->most);

	while (now > most &&
	       !atomic_compare_exchange_weak(&readers->most, &most, now))
		;
	for (int i = 0; i < 20000 && atomic_load(&readers->most) < 2; i++)
		g_usleep(1000);
	g_usleep(500);
	atomic_fetch_sub(&readers->now, 1);
}

static void no_more_threads_read_at_once_than_jobs(void **state)
{
	const struct bsp_transfer_options options = { .jobs = 2 };
	struct fake *from = fake_new(64 * MIB);
	struct both b = both_from(from, 64 * MIB);
	struct readers readers = { 0 };

	memset(fake_bytes(from), 'd', 64 * MIB);
	fake_on_read(from, count_readers, &readers);
	assert_true(copy(&b, &options));
	assert_int_equal(readers.most, 2);
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), 64 * MIB);
	both_free(&b);
}

static bool is_connected(struct bsp_device *dev)
{
	return true;
}

static bool has_lost(struct bsp_device *dev)
{
	return false;
}

/* Has copies go from a file to a network. */
static void use_network(struct both *b)
{
	static struct bsp_device_ops ops;

	ops = *fake_device(b->to)->ops;
	ops.is_connected = is_connected;
	ops.has_lost = has_lost;
	fake_device(b->to)->ops = &ops;
	fake_device(b->from)->info.is_block = false;
}

struct ahead {
	struct fake *to;
	uint64_t reads, written; /* pieces */
	uint64_t most;		 /* read but not written */
};

static void count_ahead(void *data)
{
	struct ahead *ahead = data;
	const struct fake_call *calls;
	size_t n = fake_changes(ahead->to, &calls);

	ahead->written += bytes_in(calls, n, FAKE_WRITE) / MIB;
	ahead->most = MAX(ahead->most, ahead->reads - ahead->written);
	ahead->reads++;
}

/* Threads that relieve each other cost more than such a read. */
static void a_thread_writes_to_a_network_before_it_reads_on(void **state)
{
	const struct bsp_transfer_options options = { .jobs = 1 };
	struct fake *from = fake_new(16 * MIB);
	struct both b = both_from(from, 16 * MIB);
	struct ahead ahead = { .to = b.to };

	memset(fake_bytes(from), 'd', 16 * MIB);
	use_network(&b);
	fake_on_read(from, count_ahead, &ahead);
	assert_true(copy(&b, &options));
	assert_int_equal(ahead.reads, 16);
	assert_int_equal(ahead.most, 0);
	assert_memory_equal(fake_bytes(b.to), fake_bytes(from), 16 * MIB);
	both_free(&b);
}

/* Has copies read by queues, as from a network to a file. */
static void use_queues(struct both *b)
{
	static struct bsp_device_ops ops;

	ops = *fake_device(b->from)->ops;
	ops.read_queue = bsp_read_queue_threads_new;
	fake_device(b->from)->ops = &ops;
	fake_device(b->to)->info.is_block = false;
}

static void queues_copy_small_pieces(void **state)
{
	static const unsigned jobs[] = { 1, 3, 4, 7, 64 };

	for (size_t i = 0; i < G_N_ELEMENTS(jobs); i++) {
		const struct bsp_transfer_options options = {
			.jobs = jobs[i],
			.verify = i % 2,
		};
		struct both b = both_new(7 * MIB);
		const struct fake_call *calls;
		uint64_t read = 0;
		size_t n;

		use_queues(&b);
		fake_limit_reads(b.from, 100 * G); /* short ones, too */
		fake_know_zeros(b.from, 3 * MIB, MIB);
		assert_true(copy(&b, &options));
		assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
		assert_int_equal(fake_bytes(b.to)[SIZE], 0xaa);
		assert_int_equal(b.progress.data + b.progress.hole, SIZE);
		assert_int_equal(b.progress.data, 4 * G + 512);
		n = fake_reads(b.from, &calls);
		for (size_t k = 0; k < n && !options.verify; k++) {
			assert_true(calls[k].len <= 256 << 10);
			read += calls[k].len;
		}
		/* All but the hole, where a few places are looked at. */
		if (!options.verify)
			assert_in_range(read, SIZE - MIB, SIZE - MIB / 2);
		both_free(&b);
	}
}

static void queues_copy_changes(void **state)
{
	const struct bsp_transfer_options options = { .changed = true };
	struct both b = both_new(SIZE);
	const struct fake_call *calls;
	size_t n;

	use_queues(&b);
	memcpy(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	fake_bytes(b.to)[4 * G] = 'x';
	fake_bytes(b.to)[MIB] = 'y'; /* where the source knows zeros */
	fake_know_zeros(b.from, MIB / 2, MIB);
	assert_true(copy(&b, &options));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	n = fake_changes(b.to, &calls);
	assert_int_equal(bytes_in(calls, n, FAKE_WRITE), G);
	both_free(&b);
}

static void a_failing_queue_names_the_place(void **state)
{
	struct both b = both_new(SIZE);

	use_queues(&b);
	fake_fail_reads(b.from, 3 * MIB, G, EIO);
	assert_fails(&b, NULL, BSP_ERROR_FAILED, BSP_PHASE_TRANSFER,
		     "reading fake at byte 3145728");
	fake_fail_reads(b.from, 0, 0, 0);
	fake_fail_writes(b.to, 2 * MIB, G, ENOSPC);
	assert_fails(&b, NULL, BSP_ERROR_FAILED, BSP_PHASE_TRANSFER,
		     "writing fake at byte 2097152");
	both_free(&b);
}

static void a_source_of_queues_that_lies_is_copied_again(void **state)
{
	struct both b = both_new(SIZE);

	use_queues(&b);
	b.source->spot_checks.unchecked = 0;
	b.source->spot_checks.patience_ms = 0;
	fake_know_zeros(b.from, 0, MIB);
	fake_on_question(b.from, lie_about_the_rest, &b);
	memset(fake_bytes(b.from), 'a', 4 * MIB);
	assert_true(copy(&b, NULL));
	assert_true(atomic_load(&b.source->distrusted));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	assert_int_equal(b.progress.data, 4 * MIB + 512);
	both_free(&b);
}

static void an_interrupt_ends_queues(void **state)
{
	struct watched w = { .interrupt = true };
	const struct bsp_transfer_options options = {
		.interrupted = is_interrupted,
		.data = &w,
	};
	struct both b = both_new(SIZE);

	use_queues(&b);
	sem_init(&w.asked, 0, 0);
	fake_on_read(b.from, wait_for_question, &w);
	assert_fails(&b, &options, BSP_ERROR_INTERRUPTED, BSP_PHASE_TRANSFER,
		     "interrupted");
	assert_false(w.missed);
	sem_destroy(&w.asked);
	both_free(&b);
}

static void an_option_of_a_later_version_is_refused(void **state)
{
	const struct bsp_transfer_options options = { .reserved = { 1 } };
	struct both b = both_new(SIZE);

	assert_fails(&b, &options, BSP_ERROR_USAGE, BSP_PHASE_TRANSFER,
		     "does not know");
	assert_int_equal(fake_changes(b.to, NULL), 0);
	both_free(&b);
}

static void a_target_must_be_writable(void **state)
{
	struct both b = both_new(SIZE);

	assert_false(bsp_copy(b.target, b.source, NULL, NULL, &b.error));
	assert_non_null(strstr(b.error->message, "Read-only"));
	both_free(&b);
}

static void a_path_is_refused_as_its_own_target(void **state)
{
	g_autoptr(GError) error = NULL;

	assert_true(bsp_check_not_same_device("/dev/null", "/dev/zero", NULL));
	assert_true(bsp_check_not_same_device("/nonexistent", "/nonexistent",
					      NULL));
	assert_false(bsp_check_not_same_device("/proc/self/exe",
					       "/proc/self/exe", &error));
	assert_true(g_error_matches(error, BSP_ERROR, BSP_ERROR_USAGE));
}

/* Writes to the last piece while the first one is read. */
static void write_to_the_last(void *data)
{
	struct fake *fake = data;

	fake_on_read(fake, NULL, NULL);
	fake_write(fake, 4 * MIB, G, 'n');
}

static void a_known_hole_is_checked_before_it_is_skipped(void **state)
{
	const struct bsp_transfer_options options = { .jobs = 1 };
	struct both b = both_new(SIZE);

	assert_int_equal(bsp_sparse_scan(b.source, 3 * MIB, SIZE - 3 * MIB,
					 NULL, NULL, NULL),
			 0);
	fake_on_read(b.from, write_to_the_last, b.from);
	assert_true(copy(&b, &options));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	both_free(&b);
}

/* --- Copies of changes --- */

static const struct bsp_transfer_options changes = { .changed = true };

/* As both_new(), and the target has the bytes of the source, but for the tail.
 */
static struct both both_equal(uint64_t target_size)
{
	struct both b = both_new(target_size);

	memcpy(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	return b;
}

static uint64_t bytes_read(struct fake *fake, enum fake_kind kind)
{
	const struct fake_call *calls;
	size_t n = fake_reads(fake, &calls);

	return bytes_in(calls, n, kind);
}

/* Asserts the changes of the target, in any order of pieces: none but these,
 * and no more bytes. */
static void assert_changes(struct both *b, uint64_t written, uint64_t punched)
{
	const struct fake_call *calls;
	size_t n = fake_changes(b->to, &calls);

	assert_int_equal(bytes_in(calls, n, FAKE_WRITE), written);
	assert_int_equal(bytes_in(calls, n, FAKE_PUNCH), punched);
	assert_int_equal(bytes_in(calls, n, FAKE_THROUGH), 0);
	assert_int_equal(b->progress.written, written);
	assert_int_equal(b->progress.zeroed, punched);
}

static void an_equal_target_is_only_read(void **state)
{
	for (uint64_t size = SIZE; size <= 7 * MIB; size += 7 * MIB - SIZE) {
		struct both b = both_equal(size);

		assert_true(copy(&b, &changes));
		assert_int_equal(fake_changes(b.to, NULL), 0);
		assert_int_equal(bytes_read(b.from, FAKE_READ), SIZE);
		assert_int_equal(bytes_read(b.to, FAKE_READ_THROUGH), SIZE);
		assert_int_equal(b.progress.compared, SIZE);
		assert_int_equal(b.progress.written, 0);
		assert_int_equal(b.progress.zeroed, 0);
		assert_int_equal(b.progress.data, 4 * G + 512);
		assert_int_equal(b.progress.data + b.progress.hole, SIZE);
		/* The device may have the bytes in a cache of its own. */
		assert_true(fake_flushes(b.to) > 0);
		both_free(&b);
	}
}

static void only_what_differs_is_written_and_zeroed(void **state)
{
	struct both b = both_equal(7 * MIB);

	fake_bytes(b.to)[3 * G + 5] = 'x';     /* data in both */
	fake_bytes(b.to)[MIB] = 'x';	       /* zeros in the source */
	fake_bytes(b.to)[2 * MIB - 100] = 'x'; /* data, across two granules */
	fake_bytes(b.to)[2 * MIB + 50] = 0;
	assert_true(copy(&b, &changes));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	assert_int_equal(fake_bytes(b.to)[SIZE], 0xaa);
	assert_int_equal(bsp_sparse_size(b.target), SIZE);
	assert_changes(&b, 3 * G, G);
	/* Once more: nothing is left to do. */
	assert_true(copy(&b, &changes));
	assert_changes(&b, 0, 0);
	both_free(&b);
}

/* Both know zeros: [1, 3) MiB of the source, [2, 4) MiB of the target. */
static void zeros_that_either_side_knows_are_not_read(void **state)
{
	struct both b = both_new(SIZE);
	const struct fake_call *calls;
	size_t n;

	memset(fake_bytes(b.from), 'd', SIZE);
	memset(fake_bytes(b.from) + MIB, 0, 2 * MIB);
	fake_know_zeros(b.from, MIB, 2 * MIB);
	memset(fake_bytes(b.to), 'd', SIZE);
	memset(fake_bytes(b.to) + 2 * MIB, 0, 2 * MIB);
	fake_bytes(b.to)[MIB + G] = 0;
	fake_know_zeros(b.to, 2 * MIB, 2 * MIB);
	b.source->spot_checks.unchecked = 0; /* no check */
	b.target->spot_checks.unchecked = 0;
	assert_true(copy(&b, &changes));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	n = fake_reads(b.from, &calls);
	assert_int_equal(bytes_in(calls, n, FAKE_READ), SIZE - 2 * MIB);
	n = fake_reads(b.to, &calls);
	assert_int_equal(bytes_in(calls, n, FAKE_READ_THROUGH), SIZE - 2 * MIB);
	for (size_t i = 0; i < n; i++)
		assert_true(calls[i].off + calls[i].len <= 2 * MIB ||
			    calls[i].off >= 4 * MIB);
	assert_int_equal(b.progress.compared, SIZE - 2 * MIB);
	assert_int_equal(b.progress.data, SIZE - 2 * MIB);
	/* [1, 2) MiB is zeroed, [3, 4) written. */
	assert_changes(&b, MIB, MIB);
	both_free(&b);
}

static void a_target_of_changes_that_lies_is_zeroed(void **state)
{
	struct both b = both_new(SIZE);

	b.target->spot_checks.unchecked = 0;
	fake_know_zeros(b.to, 0, MIB);
	fake_on_question(b.to, lie_about_the_rest_of_the_target, &b);
	assert_true(copy(&b, &changes));
	assert_true(atomic_load(&b.target->distrusted));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	both_free(&b);
}

/* Lies, of both sides: data of the source is skipped, zeros of the target are
 * not there. */
static void a_hole_that_neither_side_has_is_found(void **state)
{
	struct both b = both_new(SIZE);

	fake_know_zeros(b.to, 0, 4 * MIB);
	fake_know_zeros(b.from, 0, MIB);
	b.target->spot_checks.unchecked = 0;
	b.source->spot_checks.unchecked = 0;
	b.source->spot_checks.patience_ms = 0;
	memset(fake_bytes(b.from), 'a', 4 * MIB);
	fake_on_question(b.from, lie_about_the_rest, &b);
	assert_true(copy(&b, &changes));
	assert_true(atomic_load(&b.source->distrusted));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	both_free(&b);
}

static void a_copy_of_changes_goes_on_after_a_failure(void **state)
{
	struct both b = both_equal(SIZE);

	memset(fake_bytes(b.to), 'x', SIZE);
	fake_fail_reads(b.from, 3 * MIB + 5, 1, EIO);
	assert_fails(&b, &changes, BSP_ERROR_FAILED, BSP_PHASE_TRANSFER,
		     "reading fake at byte 3145728: Input/output error");
	assert_false(atomic_load(&b.target->same.skipped));
	fake_fail_reads(b.from, 0, 0, 0);
	assert_true(copy(&b, &changes));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	both_free(&b);

	/* A target that cannot be read is written. */
	b = both_equal(SIZE);
	fake_fail_reads(b.to, 3 * G, 512, EIO);
	assert_true(copy(&b, &changes));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	both_free(&b);

	b = both_equal(SIZE);
	fake_fail_flush(b.to, EIO);
	assert_fails(&b, &changes, BSP_ERROR_FAILED, BSP_PHASE_FLUSH,
		     "Input/output error");
	both_free(&b);
}

static void changes_are_verified_too(void **state)
{
	const struct bsp_transfer_options options = { .changed = true,
						      .verify = true };
	struct both b = both_equal(SIZE);

	fake_bytes(b.to)[4 * MIB] = 'x';
	assert_true(copy(&b, &options));
	both_free(&b);

	b = both_equal(SIZE);
	fake_on_flush(b.to, change_late, &b);
	assert_fails(&b, &options, BSP_ERROR_DIFFERS, BSP_PHASE_VERIFY,
		     "at byte 4194311");
	both_free(&b);
}

static void granules_of_two_sizes_go_together(void **state)
{
	const struct bsp_sparse_options large = { .granule = 16 * G };
	struct both b = both_equal(7 * MIB);

	bsp_sparse_free(b.target);
	b.to = fake_new(7 * MIB);
	memset(fake_bytes(b.to), 0xaa, 7 * MIB);
	memcpy(fake_bytes(b.to), fake_bytes(b.from), 4 * MIB);
	fake_make_writable(b.to, 1 << FAKE_PUNCH);
	b.target = bsp_sparse_new(fake_device(b.to), &large, NULL);
	fake_know_zeros(b.from, 2 * MIB + G, MIB + 3 * G);
	b.source->spot_checks.unchecked = 0; /* no check */
	assert_true(copy(&b, &changes));
	assert_memory_equal(fake_bytes(b.to), fake_bytes(b.from), SIZE);
	assert_int_equal(fake_bytes(b.to)[SIZE], 0xaa);
	both_free(&b);
}

/* Whether the wall clock is set back by an hour after each look at it. */
static atomic_bool clock_goes_back;

/* In place of libc's. */
int clock_gettime(clockid_t clock, struct timespec *ret)
{
	int r = (int)syscall(SYS_clock_gettime, clock, ret);

	if (clock == CLOCK_REALTIME && atomic_load(&clock_goes_back))
		ret->tv_sec += 3600;
	return r;
}

struct ticks {
	unsigned calls;
	sem_t second;
	bool missed;
};

/* Waits, in the read of the first piece, for a second call of count_calls(). */
static void wait_for_second_call(void *data)
{
	struct ticks *ticks = data;
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 20;
	ticks->missed = sem_clockwait(&ticks->second, CLOCK_MONOTONIC, &until);
}

static bool count_calls(void *data)
{
	struct ticks *ticks = data;

	if (++ticks->calls == 2)
		sem_post(&ticks->second);
	return false;
}

static void an_interrupt_works_after_the_clock_was_set_back(void **state)
{
	struct ticks ticks = { 0 };
	const struct bsp_transfer_options options = {
		.jobs = 1,
		.interrupted = count_calls,
		.data = &ticks,
	};
	struct fake *from = fake_new(MIB);
	struct both b = both_from(from, MIB);

	sem_init(&ticks.second, 0, 0);
	fake_on_read(from, wait_for_second_call, &ticks);
	atomic_store(&clock_goes_back, true);
	assert_true(copy(&b, &options));
	atomic_store(&clock_goes_back, false);
	assert_false(ticks.missed);
	both_free(&b);
	sem_destroy(&ticks.second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_copy_has_the_source_and_keeps_the_tail),
		cmocka_unit_test(a_known_hole_is_checked_before_it_is_skipped),
		cmocka_unit_test(a_target_that_is_zero_is_not_zeroed_again),
		cmocka_unit_test(a_hole_that_the_source_knows_is_not_read),
		cmocka_unit_test(data_that_the_source_wrote_is_copied),
		cmocka_unit_test(
			verifying_reads_the_holes_that_the_source_knows),
		cmocka_unit_test(a_source_that_lies_is_copied_again),
		cmocka_unit_test(a_target_that_lies_is_zeroed),
		cmocka_unit_test(a_target_that_is_too_small_is_not_written),
		cmocka_unit_test(a_failure_names_its_phase_and_its_place),
		cmocka_unit_test(verifying_finds_a_byte_that_differs),
		cmocka_unit_test(
			progress_reaches_the_end_and_interrupts_end_it),
		cmocka_unit_test(holes_are_zeroed_while_the_copy_goes_on),
		cmocka_unit_test(
			a_thread_writes_to_a_network_before_it_reads_on),
		cmocka_unit_test(no_more_threads_read_at_once_than_jobs),
		cmocka_unit_test(
			an_interrupt_works_after_the_clock_was_set_back),
		cmocka_unit_test(an_equal_target_is_only_read),
		cmocka_unit_test(only_what_differs_is_written_and_zeroed),
		cmocka_unit_test(zeros_that_either_side_knows_are_not_read),
		cmocka_unit_test(a_target_of_changes_that_lies_is_zeroed),
		cmocka_unit_test(a_hole_that_neither_side_has_is_found),
		cmocka_unit_test(a_copy_of_changes_goes_on_after_a_failure),
		cmocka_unit_test(changes_are_verified_too),
		cmocka_unit_test(granules_of_two_sizes_go_together),
		cmocka_unit_test(queues_copy_small_pieces),
		cmocka_unit_test(queues_copy_changes),
		cmocka_unit_test(a_failing_queue_names_the_place),
		cmocka_unit_test(a_source_of_queues_that_lies_is_copied_again),
		cmocka_unit_test(an_interrupt_ends_queues),
		cmocka_unit_test(an_option_of_a_later_version_is_refused),
		cmocka_unit_test(a_target_must_be_writable),
		cmocka_unit_test(a_path_is_refused_as_its_own_target),
	};

	return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
