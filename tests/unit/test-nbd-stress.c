/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads on one export, which are interrupted now and then, while the
 * server delays replies and drops connections. Each thread has blocks of its
 * own, and knows the bytes that each may have:
 *
 * - a write that was completed is read back, and is in the server's memory;
 * - a write that failed may be carried out at any time before the next one that
 *   completes;
 * - requests fail only after an interrupt, or after a connection was dropped.
 *
 * Neighbouring blocks belong to different threads, and the server may have
 * larger ones, so that a write reads and writes the neighbours, too.
 *
 * The seed is printed. BSP_SEED=N repeats a run, as far as threads allow.
 */
#include "unit.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "blksparse-thread.h"
#include "device/device.h"
#include "dice.h"
#include "nbd-server.h"

enum {
	THREADS = 6,
	BLOCKS = 4, /* of each thread */
	BLOCK = 4096,
	TURNS = 150,
	ROUNDS = 6,
	SIZE = THREADS * BLOCKS * BLOCK,
	RELEASE_US = 100000,
};

/* The values that all bytes of a block may have. */
struct shadow {
	bool may_be[256];
};

struct worker {
	struct bsp_device *dev;
	const atomic_bool *dropped;
	struct shadow blocks[BLOCKS];
	unsigned self;
	struct dice dice;
	unsigned impatience;  /* interrupts, in 1000 looks */
	bool interrupted;     /* in the present request */
	const char *wrong;    /* NULL: nothing yet */
	atomic_bool is_ended; /* it does no more */
	pthread_t thread;
};

static bool interrupt(void *data)
{
	struct worker *worker = data;

	if (dice_chance(&worker->dice, worker->impatience))
		worker->interrupted = true;
	return worker->interrupted;
}

static uint64_t offset_of(const struct worker *worker, unsigned block)
{
	return (uint64_t)(block * THREADS + worker->self) * BLOCK;
}

static bool is_allowed(const struct shadow *shadow, const unsigned char *bytes)
{
	for (unsigned i = 1; i < BLOCK; i++) {
		if (bytes[i] != bytes[0])
			return false;
	}
	return shadow->may_be[bytes[0]];
}

/* Judges the result of a request. Returns whether it succeeded. */
static bool judge(struct worker *worker, ssize_t r)
{
	bool dropped = atomic_load(worker->dropped);

	if (r >= 0)
		return true;
	if (r == -EINTR ? !worker->interrupted
			: !dropped || (r != -EIO && r != -ENODEV))
		worker->wrong = "a request failed without a reason";
	if (r != -EINTR)
		atomic_store(&worker->is_ended, true);
	return false;
}

static void read_block(struct worker *worker, unsigned block)
{
	unsigned char buf[BLOCK];

	if (judge(worker,
		  worker->dev->ops->read(worker->dev, offset_of(worker, block),
					 buf, BLOCK)) &&
	    !is_allowed(&worker->blocks[block], buf))
		worker->wrong = "a read returned other bytes";
}

static void write_block(struct worker *worker, unsigned block, bool zero)
{
	struct shadow *shadow = &worker->blocks[block];
	unsigned char buf[BLOCK];
	int value = zero ? 0 : 1 + (int)dice_below(&worker->dice, 255);
	uint64_t off = offset_of(worker, block);

	memset(buf, value, BLOCK);
	if (judge(worker,
		  zero ? worker->dev->ops->punch(worker->dev, off, BLOCK)
		       : worker->dev->ops->write(worker->dev, off, buf, BLOCK)))
		memset(shadow, 0, sizeof(*shadow));
	shadow->may_be[value] = true;
}

static void *work(void *data)
{
	struct worker *worker = data;
	bool can_zero = worker->dev->info.logical_block_size <= BLOCK;

	if (worker->impatience)
		bsp_interrupt_set(interrupt, worker);
	for (unsigned i = 0; i < TURNS && !worker->wrong; i++) {
		unsigned block = (unsigned)dice_below(&worker->dice, BLOCKS);
		unsigned kind = (unsigned)dice_below(&worker->dice, 10);

		worker->interrupted = false;
		if (kind < 4)
			read_block(worker, block);
		else if (kind < 9)
			write_block(worker, block, kind == 8 && can_zero);
		else
			(void)judge(worker,
				    worker->dev->ops->flush(worker->dev));
		if (atomic_load(&worker->is_ended))
			break;
	}
	atomic_store(&worker->is_ended, true);
	return NULL;
}

/* Called with the server's lock. */
static int delay_some(void *data, const struct nbd_command *command)
{
	return dice_chance(data, 50) ? NBD_HOLD : NBD_SERVE;
}

static bool are_ended(struct worker *workers)
{
	for (unsigned i = 0; i < THREADS; i++) {
		if (!atomic_load(&workers[i].is_ended))
			return false;
	}
	return true;
}

/* Releases delayed commands, and may drop all connections, until all threads
 * end. */
static void disturb(struct nbd_server *server, struct bsp_device *dev,
		    struct worker *workers, struct dice *dice,
		    atomic_bool *dropped)
{
	unsigned left = dice_chance(dice, 700) ? (unsigned)dice_below(dice, 15)
					       : UINT_MAX;

	while (!are_ended(workers)) {
		struct bsp_medium medium;

		g_usleep(RELEASE_US);
		dev->ops->medium(dev, BSP_DEPTH_CHEAP, &medium);
		if (left-- == 0) {
			atomic_store(dropped, true);
			nbd_server_drop(server);
		}
		nbd_server_release(server, dice_chance(dice, 500));
	}
}

static void check_bytes(struct nbd_server *server, struct worker *workers)
{
	unsigned char buf[BLOCK];

	for (unsigned i = 0; i < THREADS; i++) {
		for (unsigned block = 0; block < BLOCKS; block++) {
			nbd_server_get(server, offset_of(&workers[i], block),
				       buf, BLOCK);
			assert_true(is_allowed(&workers[i].blocks[block], buf));
		}
	}
}

static void play_round(struct dice *dice)
{
	const struct nbd_export export = {
		.size = SIZE,
		.flags = dice_chance(dice, 800) ? NBD_ALL
						: NBD_ALL & ~NBD_MULTI_CONN,
		.block_min = dice_chance(dice, 500) ? 8192 : 512,
		.block_max = 1 << 20,
	};
	struct nbd_server *server = nbd_server_new(&export);
	struct bsp_device *dev =
		bsp_device_open_writable(nbd_server_uri(server), NULL);
	g_autofree struct worker *workers = g_new0(struct worker, THREADS);
	struct dice delays = { dice_throw(dice) };
	atomic_bool dropped = false;

	assert_non_null(dev);
	nbd_server_script(server, delay_some, &delays);
	for (unsigned i = 0; i < THREADS; i++) {
		struct worker *worker = &workers[i];

		worker->dev = dev;
		worker->dropped = &dropped;
		worker->self = i;
		worker->dice.state = dice_throw(dice);
		worker->impatience = i % 2 ? 0 : 900;
		for (unsigned block = 0; block < BLOCKS; block++)
			worker->blocks[block].may_be[0] = true;
		assert_int_equal(
			bsp_thread_start(&worker->thread, work, worker), 0);
	}
	disturb(server, dev, workers, dice, &dropped);
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		if (workers[i].wrong)
			fail_msg("thread %u: %s", i, workers[i].wrong);
	}
	nbd_server_script(server, NULL, NULL);
	nbd_server_release(server, false);
	bsp_device_close(dev);
	check_bytes(server, workers);
	nbd_server_free(server);
}

static void threads_get_back_what_they_wrote(void **state)
{
	const char *given = g_getenv("BSP_SEED");
	uint64_t seed = given ? g_ascii_strtoull(given, NULL, 0)
			      : (uint64_t)g_get_monotonic_time();
	struct dice dice = { seed };

	print_message("BSP_SEED=%" G_GUINT64_FORMAT "\n", seed);
	for (unsigned i = 0; i < ROUNDS; i++)
		play_round(&dice);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_get_back_what_they_wrote),
	};

	return cmocka_run_group_tests_name("nbd-stress", tests, NULL, NULL);
}
