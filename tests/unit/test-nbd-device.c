/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An export as a device (device/nbd.c), and a sparse object over it, whose
 * connection is lost.
 */
#include "unit.h"

#include <errno.h>
#include <glib.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "blksparse-mount.h"
#include "blksparse-thread.h"
#include "device/device.h"
#include "device/read-queue.h"
#include "device/zero-range.h"
#include "nbd-server.h"
#include "transfer/zero-hole.h"

enum {
	KIB = 1024,
	MIB = 1 << 20,
	PART_SIZE = 4 << 20,
	GRANULE = 4096,
	WAIT_S = 10,
};

/* --- Helpers --- */

static struct bsp_device *open_export(struct nbd_server *server, bool writable)
{
	g_autoptr(GError) error = NULL;
	struct bsp_device *dev =
		(writable ? bsp_device_open_writable
			  : bsp_device_open)(nbd_server_uri(server), &error);

	if (!dev)
		fail_msg("%s", error->message);
	return dev;
}

static struct nbd_server *serve(uint64_t size, unsigned flags,
				uint32_t block_min)
{
	const struct nbd_export export = { .size = size,
					   .flags = flags,
					   .block_min = block_min,
					   .block_max = 32 * MIB };

	return nbd_server_new(&export);
}

static void fill(struct nbd_server *server, char byte, size_t len)
{
	g_autofree char *buf = g_malloc(len);

	memset(buf, byte, len);
	nbd_server_set(server, 0, buf, len);
}

static bool all_are(const void *buf, char byte, size_t len)
{
	const char *bytes = buf;

	for (size_t i = 0; i < len; i++) {
		if (bytes[i] != byte)
			return false;
	}
	return true;
}

static bool server_has(struct nbd_server *server, uint64_t off, char byte,
		       size_t len)
{
	g_autofree char *buf = g_malloc(len);

	nbd_server_get(server, off, buf, len);
	return all_are(buf, byte, len);
}

/* Sets, or compares, the bytes at the ends of each part of an
 * export, because all of a long one take ThreadSanitizer long. */
static void fill_ends(struct nbd_server *server, char byte, uint64_t len)
{
	char buf[KIB];

	memset(buf, byte, KIB);
	for (uint64_t off = 0; off < len; off += PART_SIZE) {
		nbd_server_set(server, off, buf, KIB);
		nbd_server_set(server, off + PART_SIZE - KIB, buf, KIB);
	}
}

static bool ends_are(struct nbd_server *server, char byte, uint64_t len)
{
	for (uint64_t off = 0; off < len; off += PART_SIZE) {
		if (!server_has(server, off, byte, KIB) ||
		    !server_has(server, off + PART_SIZE - KIB, byte, KIB))
			return false;
	}
	return true;
}

/* --- Blocks --- */

static void parts_of_blocks_are_read_and_written(void **state)
{
	struct nbd_server *server = serve(64 * KIB, NBD_ALL, 4096);
	struct bsp_device *dev = open_export(server, true);
	char buf[5000];

	fill(server, 'o', 64 * KIB);
	memset(buf, 'n', sizeof(buf));
	assert_int_equal(dev->ops->write(dev, 1000, buf, sizeof(buf)),
			 sizeof(buf));
	assert_true(server_has(server, 0, 'o', 1000));
	assert_true(server_has(server, 1000, 'n', sizeof(buf)));
	assert_true(server_has(server, 6000, 'o', 50000));
	memset(buf, 0, sizeof(buf));
	assert_int_equal(dev->ops->read(dev, 1000, buf, sizeof(buf)),
			 sizeof(buf));
	assert_true(all_are(buf, 'n', sizeof(buf)));
	for (unsigned i = 0; i < nbd_server_count(server, NBD_READ); i++) {
		struct nbd_command read =
			nbd_server_command(server, NBD_READ, i);

		assert_int_equal((read.off | read.len) % 4096, 0);
	}
	bsp_device_close(dev);
	nbd_server_free(server);
}

static void a_short_last_block_is_read_to_its_end(void **state)
{
	struct nbd_server *server = serve(1000, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);
	char buf[4096] = "";

	fill(server, 'x', 1000);
	assert_int_equal(dev->ops->read(dev, 0, buf, sizeof(buf)), 1000);
	assert_int_equal(dev->ops->read(dev, 990, buf, sizeof(buf)), 10);
	assert_true(all_are(buf, 'x', 1000));
	assert_int_equal(dev->ops->read(dev, 1000, buf, sizeof(buf)), 0);
	assert_int_equal(dev->ops->write(dev, 990, "yyyyyyyyyyyyyyyy", 16), 10);
	assert_true(server_has(server, 0, 'x', 990));
	assert_true(server_has(server, 990, 'y', 10));
	assert_int_equal(dev->ops->write(dev, 1000, "z", 1), -ENOSPC);
	bsp_device_close(dev);
	nbd_server_free(server);
}

enum { WRITERS = 6, PART = 500, TURNS = 20 };

struct writer {
	struct bsp_device *dev;
	unsigned self;
	pthread_t thread;
};

static void *write_parts(void *data)
{
	struct writer *writer = data;
	char buf[PART];

	for (unsigned i = 0; i < TURNS; i++) {
		memset(buf, (int)(writer->self + i), PART);
		if (writer->dev->ops->write(writer->dev, writer->self * PART,
					    buf, PART) != PART)
			abort();
	}
	return NULL;
}

static void writers_of_one_block_keep_the_parts_of_others(void **state)
{
	struct nbd_server *server = serve(64 * KIB, NBD_ALL, 4096);
	struct bsp_device *dev = open_export(server, true);
	struct writer writers[WRITERS];

	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){ .dev = dev, .self = i };
		assert_int_equal(bsp_thread_start(&writers[i].thread,
						  write_parts, &writers[i]),
				 0);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writers[i].thread, NULL);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_true(server_has(server, i * PART, (char)(i + TURNS - 1),
				       PART));
	bsp_device_close(dev);
	nbd_server_free(server);
}

static void the_largest_export_does_not_overflow(void **state)
{
	struct nbd_server *server = serve(INT64_MAX, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, false);
	uint64_t size = 0;
	char buf[4096];

	assert_int_equal(dev->ops->size(dev, &size), 0);
	assert_true(size == INT64_MAX);
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(dev->ops->read(dev, size - 100, buf, sizeof(buf)),
			 100);
	assert_true(all_are(buf, 0, 100));
	assert_int_equal(dev->ops->read(dev, size, buf, sizeof(buf)), 0);
	assert_int_equal(dev->ops->read(dev, UINT64_MAX, buf, sizeof(buf)), 0);
	bsp_device_close(dev);
	nbd_server_free(server);
}

/* --- Durable writes --- */

static void writes_are_durable_at_once_on_a_server_without_flush(void **state)
{
	struct nbd_server *server =
		serve(64 * KIB, NBD_CAN_FUA | NBD_CAN_ZERO, 0);
	struct bsp_device *dev = open_export(server, true);

	assert_int_equal(dev->ops->write(dev, 0, "x", 1), 1);
	assert_int_equal(dev->ops->punch(dev, 4096, 4096), 0);
	assert_int_equal(dev->ops->flush(dev), 0);
	assert_int_equal(nbd_server_command(server, NBD_WRITE, 0).flags,
			 NBD_FUA);
	assert_int_equal(nbd_server_command(server, NBD_ZERO, 0).flags,
			 NBD_FUA);
	assert_int_equal(nbd_server_count(server, NBD_FLUSH), 0);
	bsp_device_close(dev);
	nbd_server_free(server);
}

static void a_server_with_flush_gets_no_fua(void **state)
{
	struct nbd_server *server = serve(64 * KIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);

	assert_int_equal(dev->ops->write(dev, 0, "x", 1), 1);
	assert_int_equal(dev->ops->flush(dev), 0);
	assert_int_equal(nbd_server_command(server, NBD_WRITE, 0).flags, 0);
	assert_int_equal(nbd_server_count(server, NBD_FLUSH), 1);
	bsp_device_close(dev);
	nbd_server_free(server);
}

/* --- Zeroing --- */

static void zeroing_is_done_in_pieces(void **state)
{
	struct nbd_server *server = serve(128 * MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);

	fill_ends(server, 'x', 104 * MIB);
	assert_int_equal(dev->ops->punch(dev, 0, 100 * MIB), 0);
	assert_true(ends_are(server, 0, 100 * MIB));
	assert_true(server_has(server, 100 * MIB, 'x', KIB));
	assert_int_equal(nbd_server_count(server, NBD_ZERO), 4);
	for (unsigned i = 0; i < 4; i++) {
		struct nbd_command zero =
			nbd_server_command(server, NBD_ZERO, i);

		assert_int_equal(zero.flags, NBD_FAST_ZERO);
		assert_int_equal(zero.off, i * 32 * MIB);
	}
	nbd_server_clear(server);
	assert_int_equal(dev->ops->zero_out(dev, 0, 4096), 0);
	assert_int_equal(nbd_server_command(server, NBD_ZERO, 0).flags,
			 NBD_FAST_ZERO | NBD_NO_HOLE);
	bsp_device_close(dev);
	nbd_server_free(server);
}

static int refuse_fast(void *data, const struct nbd_command *command)
{
	return command->flags & NBD_FAST_ZERO ? NBD_FAIL + NBD_ENOTSUP
					      : NBD_SERVE;
}

static void pieces_are_short_where_zeroing_is_slow(void **state)
{
	struct nbd_server *server = serve(64 * MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);
	unsigned n;

	nbd_server_script(server, refuse_fast, NULL);
	fill_ends(server, 'x', 64 * MIB);
	assert_int_equal(dev->ops->punch(dev, 0, 64 * MIB), 0);
	assert_true(ends_are(server, 0, 64 * MIB));
	n = nbd_server_count(server, NBD_ZERO);
	/* It is asked for fast zeroing once. */
	assert_int_equal(nbd_server_command(server, NBD_ZERO, 0).flags,
			 NBD_FAST_ZERO);
	for (unsigned i = 1; i < n; i++)
		assert_int_equal(nbd_server_command(server, NBD_ZERO, i).flags,
				 0);
	assert_int_equal(nbd_server_command(server, NBD_ZERO, n - 1).len,
			 4 * MIB);
	bsp_device_close(dev);
	nbd_server_free(server);
}

static int fail_trim(void *data, const struct nbd_command *command)
{
	return command->type == NBD_TRIM ? NBD_FAIL + NBD_EIO : NBD_SERVE;
}

static void discarding_is_done_in_pieces(void **state)
{
	struct nbd_server *server = serve(128 * MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);

	assert_int_equal(dev->ops->discard(dev, MIB, 70 * MIB), 0);
	assert_int_equal(nbd_server_count(server, NBD_TRIM), 3);
	for (unsigned i = 0; i < 3; i++) {
		struct nbd_command trim =
			nbd_server_command(server, NBD_TRIM, i);

		assert_int_equal(trim.off, (1 + i * 32) * MIB);
		assert_int_equal(trim.len, (i < 2 ? 32 : 6) * MIB);
	}
	nbd_server_clear(server);
	nbd_server_script(server, fail_trim, NULL);
	assert_int_equal(dev->ops->discard(dev, MIB, 70 * MIB), -EIO);
	assert_int_equal(nbd_server_count(server, NBD_TRIM), 1);
	bsp_device_close(dev);
	nbd_server_free(server);

	server = serve(128 * MIB, NBD_ALL & ~NBD_CAN_TRIM, 0);
	dev = open_export(server, true);
	assert_int_equal(dev->ops->discard(dev, 0, MIB), -EOPNOTSUPP);
	assert_int_equal(nbd_server_count(server, NBD_TRIM), 0);
	bsp_device_close(dev);
	nbd_server_free(server);
}

static int zero_half(void *data, const struct nbd_command *command)
{
	return command->type == NBD_ZERO ? NBD_HALF : NBD_SERVE;
}

static void a_server_that_zeroes_less_is_found_out(void **state)
{
	struct nbd_server *server = serve(8 * MIB, NBD_ALL, 0);
	struct bsp_sparse *sp =
		bsp_sparse_new(open_export(server, true), NULL, NULL);
	char buf[4096];

	fill(server, 'x', 8 * MIB);
	nbd_server_script(server, zero_half, NULL);
	assert_int_equal(bsp_sparse_fallocate(
				 sp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 0, 4 * MIB),
			 0);
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), -EIO);
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), 0);
	assert_true(server_has(server, 0, 0, 4 * MIB));
	assert_true(server_has(server, 4 * MIB, 'x', 4 * MIB));
	assert_int_equal(bsp_sparse_read(sp, 2 * MIB, buf, sizeof(buf)),
			 sizeof(buf));
	assert_true(all_are(buf, 0, sizeof(buf)));
	/* No other range is given to that command. */
	nbd_server_clear(server);
	assert_int_equal(bsp_sparse_fallocate(
				 sp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 4 * MIB, MIB),
			 0);
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), 0);
	assert_true(server_has(server, 4 * MIB, 0, MIB));
	assert_int_equal(nbd_server_count(server, NBD_ZERO), 0);
	bsp_sparse_free(sp);
	nbd_server_free(server);
}

static int zero_later_half(void *data, const struct nbd_command *command)
{
	return command->type == NBD_ZERO ? NBD_LATER_HALF : NBD_SERVE;
}

/* Such as one that rounds a range inwards to its own blocks. */
static void a_server_that_zeroes_from_later_on_is_found_out(void **state)
{
	struct nbd_server *server = serve(8 * MIB, NBD_ALL, 0);
	struct bsp_sparse *sp =
		bsp_sparse_new(open_export(server, true), NULL, NULL);

	fill(server, 'x', 8 * MIB);
	nbd_server_script(server, zero_later_half, NULL);
	assert_int_equal(bsp_sparse_fallocate(
				 sp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 0, 4 * MIB),
			 0);
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), -EIO);
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), 0);
	assert_true(server_has(server, 0, 0, 4 * MIB));
	assert_true(server_has(server, 4 * MIB, 'x', 4 * MIB));
	bsp_sparse_free(sp);
	nbd_server_free(server);
}

static int zero_half_and_fail_a_read(void *data,
				     const struct nbd_command *command)
{
	bool *failed = data;

	if (command->type == NBD_READ && !*failed) {
		*failed = true;
		return NBD_FAIL + NBD_EIO;
	}
	return zero_half(NULL, command);
}

/* The next piece of that length is checked instead. */
static void a_check_that_failed_does_not_count(void **state)
{
	struct nbd_server *server = serve(8 * MIB, NBD_ALL, 0);
	struct bsp_sparse *sp =
		bsp_sparse_new(open_export(server, true), NULL, NULL);
	bool failed = false;

	fill(server, 'x', 8 * MIB);
	nbd_server_script(server, zero_half_and_fail_a_read, &failed);
	assert_int_equal(bsp_sparse_fallocate(
				 sp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 0, 4 * MIB),
			 0);
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), -EIO);
	assert_true(failed);
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), 0);
	assert_true(server_has(server, 0, 0, 4 * MIB));
	assert_true(server_has(server, 4 * MIB, 'x', 4 * MIB));
	bsp_sparse_free(sp);
	nbd_server_free(server);
}

static int count_and_fail_a_read(void *data, const struct nbd_command *command)
{
	unsigned *reads = data;

	if (command->type == NBD_READ && ++*reads == 1)
		return NBD_FAIL + NBD_EIO;
	return NBD_SERVE;
}

/* Of pieces that are longer, or begin or end at a finer boundary, than all
 * before. */
static void the_ends_of_a_check_that_failed_are_read_again(void **state)
{
	static const struct {
		uint64_t off, len;
	} pieces[] = { { 0, 2 * GRANULE },
		       { 3 * GRANULE, GRANULE },
		       { GRANULE, GRANULE + 512 },
		       { 0, 4 * GRANULE } };
	struct nbd_server *server = serve(8 * MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);

	for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
		uint64_t off = pieces[i].off, len = pieces[i].len;
		unsigned reads = 0;

		nbd_server_script(server, count_and_fail_a_read, &reads);
		assert_int_equal(dev->ops->punch(dev, off, len), -EIO);
		assert_int_equal(reads, 1);
		assert_int_equal(dev->ops->punch(dev, off, len), 0);
		assert_int_equal(reads, len > GRANULE ? 3 : 2);
		/* It counts now. */
		reads = 1;
		assert_int_equal(dev->ops->punch(dev, off, len), 0);
		assert_int_equal(reads, 1);
	}
	bsp_device_close(dev);
	nbd_server_free(server);
}

static int count_reads(void *data, const struct nbd_command *command)
{
	*(unsigned *)data += command->type == NBD_READ;
	return NBD_SERVE;
}

static void a_piece_of_each_64_mib_is_checked(void **state)
{
	struct nbd_server *server = serve(4 * MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);
	unsigned reads = 0;

	nbd_server_script(server, count_reads, &reads);
	for (unsigned mib = 0; mib <= 64; mib += 4)
		assert_int_equal(dev->ops->punch(dev, 0, 4 * MIB), 0);
	assert_int_equal(reads, 2);
	assert_int_equal(dev->ops->punch(dev, 0, 4 * MIB), 0);
	assert_int_equal(reads, 4);
	bsp_device_close(dev);
	nbd_server_free(server);
}

/* --- A read queue --- */

static int hold_reads(void *data, const struct nbd_command *command)
{
	return command->type == NBD_READ ? NBD_HOLD : NBD_SERVE;
}

static bool yes(void *data)
{
	return true;
}

static void an_interrupted_queue_gives_its_buffers_back(void **state)
{
	enum { DEPTH = 4 };
	struct nbd_server *server = serve(MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, false);
	struct bsp_read_queue *queue = bsp_read_queue_new(dev, DEPTH);
	struct bsp_read reads[DEPTH] = { 0 }, *back;
	unsigned n = 0;

	nbd_server_script(server, hold_reads, NULL);
	for (unsigned i = 0; i < DEPTH; i++) {
		reads[i].off = i * 4096;
		reads[i].len = 4096;
		reads[i].buf = g_malloc(4096);
		bsp_read_submit(queue, &reads[i]);
	}
	assert_true(nbd_server_wait_held(server, DEPTH));
	bsp_interrupt_set(yes, NULL);
	while ((back = bsp_read_wait(queue))) {
		assert_true(back->result < 0);
		g_free(back->buf);
		n++;
	}
	bsp_interrupt_set(NULL, NULL);
	assert_int_equal(n, DEPTH);
	nbd_server_release(server, false);
	bsp_read_queue_free(queue);
	bsp_device_close(dev);
	nbd_server_free(server);
}

static int refuse_one_piece(void *data, const struct nbd_command *command)
{
	return command->flags & NBD_DF ? NBD_FAIL + NBD_EOVERFLOW : NBD_SERVE;
}

static void
a_queue_takes_parts_from_a_server_that_refuses_one_piece(void **state)
{
	enum { DEPTH = 4 };
	struct nbd_server *server = serve(MIB, NBD_ALL | NBD_CAN_DF, 0);
	struct bsp_device *dev = open_export(server, false);
	struct bsp_read_queue *queue = bsp_read_queue_new(dev, DEPTH);
	struct bsp_read reads[DEPTH] = { 0 }, *back;
	unsigned n = 0;

	fill(server, 'x', MIB);
	nbd_server_script(server, refuse_one_piece, NULL);
	for (unsigned i = 0; i < DEPTH; i++) {
		reads[i].off = i * (128 * KIB);
		reads[i].len = 128 * KIB;
		reads[i].buf = g_malloc(128 * KIB);
		bsp_read_submit(queue, &reads[i]);
	}
	while ((back = bsp_read_wait(queue))) {
		assert_int_equal(back->result, 128 * KIB);
		assert_true(all_are(back->buf, 'x', 128 * KIB));
		g_free(back->buf);
		n++;
	}
	assert_int_equal(n, DEPTH);
	bsp_read_queue_free(queue);
	bsp_device_close(dev);
	nbd_server_free(server);
}

/* --- Writes that a thread was interrupted in --- */

static int hold_writes(void *data, const struct nbd_command *command)
{
	return command->type == NBD_WRITE ? NBD_HOLD : NBD_SERVE;
}

static void *write_and_leave(void *data)
{
	struct bsp_device *dev = data;
	char buf[GRANULE];

	memset(buf, 'l', sizeof(buf));
	bsp_interrupt_set(yes, NULL);
	return (void *)dev->ops->write(dev, 0, buf, sizeof(buf));
}

/* Leaves a write of the first granule at the server. */
static void leave_write(struct nbd_server *server, struct bsp_device *dev)
{
	pthread_t thread;
	void *n;

	nbd_server_script(server, hold_writes, NULL);
	assert_int_equal(bsp_thread_start(&thread, write_and_leave, dev), 0);
	assert_true(nbd_server_wait_held(server, 1));
	assert_int_equal(pthread_join(thread, &n), 0);
	assert_int_equal((intptr_t)n, -EINTR);
	nbd_server_script(server, NULL, NULL);
}

/* The server carries it out when another request had the time to come before.
 */
static void *release(void *server)
{
	g_usleep(50000);
	nbd_server_release(server, false);
	return NULL;
}

static pthread_t release_soon(struct nbd_server *server)
{
	pthread_t thread;

	assert_int_equal(bsp_thread_start(&thread, release, server), 0);
	return thread;
}

static void a_queue_waits_for_an_interrupted_write(void **state)
{
	struct nbd_server *server = serve(MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);
	struct bsp_read_queue *queue = bsp_read_queue_new(dev, 1);
	char buf[GRANULE];
	struct bsp_read read = { .buf = buf, .len = sizeof(buf) };
	pthread_t releaser;

	leave_write(server, dev);
	releaser = release_soon(server);
	bsp_read_submit(queue, &read);
	assert_ptr_equal(bsp_read_wait(queue), &read);
	assert_int_equal(read.result, sizeof(buf));
	assert_true(all_are(buf, 'l', sizeof(buf)));
	pthread_join(releaser, NULL);
	bsp_read_queue_free(queue);
	bsp_device_close(dev);
	nbd_server_free(server);
}

/* A server without that command has zeros written where none are read. */
static void zeros_come_after_an_interrupted_write(void **state)
{
	struct nbd_server *server =
		serve(MIB, NBD_ALL & ~(unsigned)NBD_CAN_ZERO, 0);
	struct bsp_device *dev = open_export(server, true);
	struct bsp_sparse *sp = bsp_sparse_new(dev, NULL, NULL);
	pthread_t releaser;

	assert_non_null(sp);
	leave_write(server, dev);
	releaser = release_soon(server);
	assert_int_equal(bsp_sparse_fallocate(
				 sp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 0, GRANULE),
			 0);
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), 0);
	pthread_join(releaser, NULL);
	assert_true(server_has(server, 0, 0, GRANULE));
	bsp_sparse_free(sp);
	nbd_server_free(server);
}

static void no_write_is_left_out_before_an_interrupted_one(void **state)
{
	const struct bsp_sparse_options options = { .unshared = true,
						    .skip_same = true };
	struct nbd_server *server = serve(MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);
	struct bsp_sparse *sp = bsp_sparse_new(dev, &options, NULL);
	char buf[GRANULE];
	pthread_t releaser;

	assert_non_null(sp);
	fill(server, 'o', MIB);
	memset(buf, 'o', sizeof(buf));
	leave_write(server, dev);
	releaser = release_soon(server);
	assert_int_equal(bsp_sparse_write(sp, 0, buf, sizeof(buf)),
			 sizeof(buf));
	assert_int_equal(bsp_sparse_flush(sp, NULL, NULL), 0);
	pthread_join(releaser, NULL);
	assert_true(server_has(server, 0, 'o', GRANULE));
	bsp_sparse_free(sp);
	nbd_server_free(server);
}

/* Otherwise it might come after those of the next mount. */
static void the_end_of_an_object_waits_for_an_interrupted_write(void **state)
{
	struct nbd_server *server = serve(MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);
	struct bsp_sparse *sp = bsp_sparse_new(dev, NULL, NULL);
	pthread_t releaser;

	assert_non_null(sp);
	leave_write(server, dev);
	releaser = release_soon(server);
	assert_int_equal(bsp_sparse_finish(sp, BSP_TAIL_KEEP), 0);
	bsp_sparse_free(sp);
	assert_true(server_has(server, 0, 'l', GRANULE));
	pthread_join(releaser, NULL);
	nbd_server_free(server);
}

static int refuse_changes(void *data, const struct nbd_command *command)
{
	return command->type == NBD_WRITE || command->type == NBD_ZERO
		       ? NBD_FAIL + NBD_EIO
		       : NBD_SERVE;
}

static void the_end_waits_even_if_zeroing_fails(void **state)
{
	struct nbd_server *server = serve(MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);
	struct bsp_sparse *sp = bsp_sparse_new(dev, NULL, NULL);
	pthread_t releaser;

	assert_non_null(sp);
	fill(server, 'o', MIB);
	leave_write(server, dev);
	assert_int_equal(bsp_sparse_fallocate(
				 sp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				 GRANULE, GRANULE),
			 0);
	nbd_server_script(server, refuse_changes, NULL);
	releaser = release_soon(server);
	assert_int_equal(bsp_sparse_finish(sp, BSP_TAIL_KEEP), -EIO);
	assert_true(server_has(server, 0, 'l', GRANULE));
	pthread_join(releaser, NULL);
	bsp_sparse_free(sp);
	nbd_server_free(server);
}

/* --- A connection that is lost, below a sparse object --- */

static void count_change(void *data, enum bsp_change change)
{
	atomic_fetch_add((atomic_uint *)data, 1);
}

struct object {
	struct nbd_server *server;
	struct bsp_sparse *sp;
	atomic_uint changes;
};

static void open_with(struct object *o, bool writable,
		      const struct bsp_sparse_options *options)
{
	o->server = serve(MIB, NBD_ALL, 0);
	fill(o->server, 'o', MIB);
	o->sp = bsp_sparse_new(open_export(o->server, writable), options, NULL);
	assert_non_null(o->sp);
	atomic_init(&o->changes, 0);
	bsp_sparse_set_changed(o->sp, count_change, &o->changes);
}

/* No other program writes, so that the map is kept. */
static void open_object(struct object *o, bool writable)
{
	const struct bsp_sparse_options options = { .unshared = true };

	open_with(o, writable, &options);
}

static void close_object(struct object *o)
{
	bsp_sparse_free(o->sp);
	nbd_server_free(o->server);
}

static ssize_t read_byte(struct bsp_sparse *sp, uint64_t off)
{
	char buf[GRANULE];
	ssize_t n = bsp_sparse_read(sp, off, buf, sizeof(buf));

	return n < 0 ? n : buf[0];
}

static ssize_t write_byte(struct bsp_sparse *sp, uint64_t off, char byte)
{
	char buf[GRANULE];

	memset(buf, byte, sizeof(buf));
	return bsp_sparse_write(sp, off, buf, sizeof(buf));
}

static void a_read_only_object_forgets_all_and_goes_on(void **state)
{
	static const char zeros[GRANULE];
	struct object o;

	open_object(&o, false);
	nbd_server_set(o.server, 0, zeros, sizeof(zeros));
	assert_int_equal(read_byte(o.sp, 0), 0); /* a hole now */
	assert_int_equal(read_byte(o.sp, GRANULE), 'o');
	nbd_server_stop(o.server);
	fill(o.server, 'n', MIB);
	nbd_server_start(o.server, NULL);
	assert_int_equal(read_byte(o.sp, 0), 'n');
	assert_int_equal(read_byte(o.sp, GRANULE), 'n');
	assert_true(atomic_load(&o.changes) > 0);
	close_object(&o);
}

static void a_read_without_a_server_fails(void **state)
{
	struct object o;

	open_object(&o, false);
	nbd_server_stop(o.server);
	assert_int_equal(read_byte(o.sp, 0), -EIO);
	assert_int_equal(read_byte(o.sp, 0), -EIO);
	close_object(&o);
}

/* Takes connections at the server's address, and says nothing. Returns the
 * socket. */
static int listen_silently(struct nbd_server *server)
{
	const char *path = strstr(nbd_server_uri(server), "socket=") + 7;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
	(void)unlink(path);
	assert_int_equal(
		bind(fd, (const struct sockaddr *)&address, sizeof(address)),
		0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* A thread that connects until the test ends it. */
struct connecting {
	struct bsp_sparse *sp;
	atomic_bool waits, end, ended;
};

static bool is_to_end(void *data)
{
	struct connecting *connecting = data;

	atomic_store(&connecting->waits, true);
	return atomic_load(&connecting->end);
}

static void *connect_anew(void *data)
{
	struct connecting *connecting = data;

	bsp_interrupt_set(is_to_end, connecting);
	(void)read_byte(connecting->sp, 0);
	atomic_store(&connecting->ended, true);
	return NULL;
}

static bool always(void *data)
{
	return true;
}

static void the_wait_for_a_thread_that_connects_can_be_interrupted(void **state)
{
	gint64 limit = g_get_monotonic_time() + WAIT_S * G_USEC_PER_SEC;
	struct connecting connecting = { 0 };
	pthread_t thread;
	struct object o;
	int fd;

	open_object(&o, true);
	connecting.sp = o.sp;
	nbd_server_stop(o.server);
	fd = listen_silently(o.server);
	assert_int_equal(bsp_thread_start(&thread, connect_anew, &connecting),
			 0);
	while (!atomic_load(&connecting.waits) &&
	       g_get_monotonic_time() < limit)
		g_usleep(1000);
	bsp_interrupt_set(always, NULL);
	assert_int_equal(read_byte(o.sp, 0), -EINTR);
	assert_int_equal(write_byte(o.sp, 0, 'n'), -EINTR);
	assert_int_equal(bsp_sparse_flush_markers(o.sp, NULL, NULL), -EINTR);
	assert_int_equal(bsp_sparse_flush(o.sp, NULL, NULL), -EINTR);
	bsp_interrupt_set(NULL, NULL);
	assert_false(atomic_load(&connecting.ended));
	atomic_store(&connecting.end, true);
	pthread_join(thread, NULL);
	close(fd);
	close_object(&o);
}

static void a_writable_object_without_markers_goes_on(void **state)
{
	struct object o;

	open_object(&o, true);
	assert_int_equal(write_byte(o.sp, 0, 'w'), GRANULE);
	assert_int_equal(write_byte(o.sp, GRANULE, 0), GRANULE);
	assert_int_equal(bsp_sparse_flush(o.sp, NULL, NULL), 0);
	assert_int_equal(read_byte(o.sp, GRANULE), 0);
	nbd_server_stop(o.server);
	fill(o.server, 'n', MIB);
	nbd_server_start(o.server, NULL);
	assert_int_equal(read_byte(o.sp, GRANULE), 'n');
	assert_int_equal(write_byte(o.sp, 0, 'v'), GRANULE);
	assert_int_equal(bsp_sparse_flush(o.sp, NULL, NULL), 0);
	assert_true(server_has(o.server, 0, 'v', GRANULE));
	assert_true(server_has(o.server, GRANULE, 'n', GRANULE));
	close_object(&o);
}

static void calls_that_change_nothing_lose_nothing(void **state)
{
	struct object o;
	char buf[GRANULE] = "x";

	open_object(&o, true);
	assert_int_equal(bsp_sparse_truncate(o.sp, MIB), 0);
	assert_int_equal(bsp_sparse_truncate(o.sp, 2 * MIB), -EFBIG);
	assert_int_equal(bsp_sparse_fallocate(o.sp, 0, 0, GRANULE), 0);
	assert_int_equal(bsp_sparse_fallocate(o.sp, 0, MIB, GRANULE), -ENOSPC);
	assert_int_equal(bsp_sparse_fallocate(o.sp, FALLOC_FL_COLLAPSE_RANGE, 0,
					      GRANULE),
			 -EOPNOTSUPP);
	assert_int_equal(bsp_sparse_write(o.sp, MIB, buf, sizeof(buf)),
			 -ENOSPC);
	assert_int_equal(bsp_sparse_write(o.sp, 0, buf, 0), 0);
	nbd_server_stop(o.server);
	fill(o.server, 'n', MIB);
	nbd_server_start(o.server, NULL);
	assert_int_equal(read_byte(o.sp, 0), 'n');
	close_object(&o);
}

static void check_lost(struct object *o)
{
	nbd_server_stop(o->server);
	fill(o->server, 'n', MIB);
	nbd_server_clear(o->server);
	nbd_server_start(o->server, NULL);
	assert_int_equal(bsp_sparse_flush(o->sp, NULL, NULL), -ENODEV);
	assert_int_equal(read_byte(o->sp, 0), -ENODEV);
	assert_int_equal(write_byte(o->sp, 0, 'x'), -ENODEV);
	assert_int_equal(write_byte(o->sp, 0, 0), -ENODEV);
	assert_int_equal(bsp_sparse_finish(o->sp, BSP_TAIL_KEEP), -ENODEV);
	assert_true(server_has(o->server, 0, 'n', MIB));
	assert_int_equal(nbd_server_count(o->server, NBD_ZERO), 0);
}

static void markers_do_not_reach_the_next_server(void **state)
{
	struct object o;

	open_object(&o, true);
	assert_int_equal(write_byte(o.sp, GRANULE, 0), GRANULE);
	check_lost(&o);
	close_object(&o);
}

static void unflushed_writes_end_a_writable_object(void **state)
{
	struct object o;

	open_object(&o, true);
	assert_int_equal(write_byte(o.sp, GRANULE, 'w'), GRANULE);
	check_lost(&o);
	close_object(&o);
}

/* The server may lose the bytes: an earlier program may not have flushed them.
 */
static void writes_that_were_left_out_end_a_writable_object(void **state)
{
	const struct bsp_sparse_options options = { .unshared = true,
						    .skip_same = true };

	for (int part = 0; part < 2; part++) {
		struct object o;

		open_with(&o, true, &options);
		assert_int_equal(part ? bsp_sparse_write(o.sp, 100, "oo", 2)
				      : write_byte(o.sp, GRANULE, 'o'),
				 part ? 2 : GRANULE);
		assert_int_equal(nbd_server_count(o.server, NBD_WRITE), 0);
		check_lost(&o);
		close_object(&o);
	}
}

/* All is zero. */
static size_t tell_zeros(void *data, const struct nbd_command *command,
			 uint32_t *entries, size_t max)
{
	entries[0] = (uint32_t)command->len;
	entries[1] = 3; /* NBD_STATE_HOLE, NBD_STATE_ZERO */
	return 1;
}

static void zeros_that_were_relied_upon_end_a_writable_object(void **state)
{
	struct object o;

	open_object(&o, true);
	fill(o.server, 0, MIB);
	nbd_server_extents(o.server, tell_zeros, NULL);
	assert_int_equal(write_byte(o.sp, GRANULE, 0), GRANULE);
	assert_true(nbd_server_count(o.server, NBD_STATUS) > 0);
	check_lost(&o);
	close_object(&o);
}

/* This object is not told of changes, so it does not connect anew. */
static void a_hole_is_not_relied_upon_without_a_connection(void **state)
{
	const struct bsp_sparse_options options = { .unshared = true };
	struct nbd_server *server = serve(MIB, NBD_ALL, 0);
	struct bsp_device *dev = open_export(server, true);
	struct bsp_sparse *sp = bsp_sparse_new(dev, &options, NULL);
	gint64 limit = g_get_monotonic_time() + WAIT_S * G_USEC_PER_SEC;

	assert_non_null(sp);
	assert_int_equal(read_byte(sp, 0), 0);
	nbd_server_stop(server);
	while (dev->ops->is_connected(dev) && g_get_monotonic_time() < limit)
		g_usleep(1000);
	assert_int_equal(write_byte(sp, 0, 0), -EIO);
	bsp_sparse_free(sp);
	nbd_server_free(server);
}

static bool is_lost_soon(struct bsp_device *dev)
{
	gint64 limit = g_get_monotonic_time() + WAIT_S * G_USEC_PER_SEC;

	while (!dev->ops->has_lost(dev) && dev->ops->is_connected(dev) &&
	       g_get_monotonic_time() < limit)
		g_usleep(1000);
	return dev->ops->has_lost(dev);
}

/* A transfer that has no object leaves zeros that are known, or that it reads.
 */
static void leave_zeros(bool known, bool flushes)
{
	struct nbd_server *server =
		serve(MIB, NBD_ALL & ~(unsigned)NBD_CAN_ZERO, 0);
	struct bsp_device *dev = open_export(server, true);
	struct bsp_zero_hole hole = { .dev = dev, .mode = BSP_ZERO_UNMAP };
	uint64_t next;

	if (known)
		nbd_server_extents(server, tell_zeros, NULL);
	assert_int_equal(bsp_zero_hole_step(&hole, 0, GRANULE, &next), 0);
	assert_int_equal(next, GRANULE);
	assert_int_equal(nbd_server_count(server, NBD_WRITE), 0);
	if (flushes)
		assert_int_equal(dev->ops->flush(dev), 0);
	nbd_server_drop(server);
	assert_int_equal(is_lost_soon(dev), !flushes);
	bsp_device_close(dev);
	nbd_server_free(server);
}

static void zeros_that_are_left_as_they_are_may_be_lost(void **state)
{
	leave_zeros(true, false);
	leave_zeros(true, true);
	leave_zeros(false, false);
	leave_zeros(false, true);
}

static void
markers_made_without_a_connection_do_not_reach_the_next_server(void **state)
{
	struct object o;
	int r;

	open_object(&o, true);
	nbd_server_stop(o.server);
	(void)bsp_sparse_refresh(o.sp); /* it forgets, and finds no server */
	/* They may be refused. */
	(void)write_byte(o.sp, GRANULE, 0);
	r = bsp_sparse_fallocate(
		o.sp, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, GRANULE);
	assert_true(r == 0 || r == -EIO);
	fill(o.server, 'n', MIB);
	nbd_server_start(o.server, NULL);
	g_usleep(1100 * 1000); /* the rest after a try to connect */
	r = bsp_sparse_flush(o.sp, NULL, NULL);
	assert_true(r == 0 || r == -ENODEV);
	assert_true(server_has(o.server, 0, 'n', MIB));
	close_object(&o);
}

static void an_export_that_becomes_read_only_refuses_writes(void **state)
{
	const struct nbd_export read_only = { .size = MIB,
					      .flags = NBD_READ_ONLY };
	struct object o;

	open_object(&o, true);
	nbd_server_stop(o.server);
	nbd_server_start(o.server, &read_only);
	assert_int_equal(read_byte(o.sp, 0), 'o');
	assert_int_equal(write_byte(o.sp, 0, 'x'), -EROFS);
	assert_true(server_has(o.server, 0, 'o', MIB));
	close_object(&o);
}

static void the_next_export_may_be_smaller(void **state)
{
	const struct nbd_export smaller = { .size = 10000, .flags = NBD_ALL };
	struct object o;

	open_object(&o, false);
	assert_int_equal(read_byte(o.sp, MIB - GRANULE), 'o');
	nbd_server_stop(o.server);
	nbd_server_start(o.server, &smaller);
	assert_int_equal(read_byte(o.sp, 0), 'o');
	assert_int_equal(bsp_sparse_size(o.sp), 10000);
	close_object(&o);
}

/* --- Many readers, while the content changes with each connection --- */

enum { READERS = 6, GRANULES = MIB / GRANULE, VERSIONS = 4 };

/* In version v, granules g with (g + v) even are zero, and the others hold v.
 */
struct world {
	struct object o;
	atomic_uint version; /* odd: it changes at the moment */
	atomic_bool stop;
	atomic_uint wrong, right;
};

static void fill_version(struct nbd_server *server, unsigned version)
{
	char buf[GRANULE];

	for (unsigned g = 0; g < GRANULES; g++) {
		memset(buf, (g + version) % 2 ? (int)version : 0, GRANULE);
		nbd_server_set(server, (uint64_t)g * GRANULE, buf, GRANULE);
	}
}

static void *read_versions(void *data)
{
	struct world *world = data;
	unsigned random = 1;

	while (!atomic_load(&world->stop)) {
		unsigned before = atomic_load(&world->version);
		unsigned g = (random = random * 1103515245 + 12345) >> 8;
		ssize_t byte;

		g %= GRANULES;
		byte = read_byte(world->o.sp, (uint64_t)g * GRANULE);
		/* The content may have changed, or there is no server. */
		if (before != atomic_load(&world->version) || before % 2 ||
		    byte < 0)
			continue;
		if (byte == ((g + before / 2) % 2 ? (ssize_t)(before / 2) : 0))
			atomic_fetch_add(&world->right, 1);
		else
			atomic_fetch_add(&world->wrong, 1);
	}
	return NULL;
}

static void no_reader_gets_what_another_server_had(void **state)
{
	static struct world world;
	pthread_t threads[READERS];

	open_object(&world.o, false);
	fill_version(world.o.server, 0);
	for (unsigned i = 0; i < READERS; i++)
		assert_int_equal(
			bsp_thread_start(&threads[i], read_versions, &world),
			0);
	for (unsigned version = 1; version <= VERSIONS; version++) {
		unsigned right = atomic_load(&world.right);
		gint64 limit = g_get_monotonic_time() + WAIT_S * G_USEC_PER_SEC;

		while (atomic_load(&world.right) < right + 200 &&
		       g_get_monotonic_time() < limit)
			g_usleep(1000);
		atomic_fetch_add(&world.version, 1);
		nbd_server_stop(world.o.server);
		fill_version(world.o.server, version);
		atomic_fetch_add(&world.version, 1);
		nbd_server_start(world.o.server, NULL);
	}
	atomic_store(&world.stop, true);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&world.wrong), 0);
	assert_true(atomic_load(&world.right) >= 200);
	close_object(&world.o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_of_blocks_are_read_and_written),
		cmocka_unit_test(a_short_last_block_is_read_to_its_end),
		cmocka_unit_test(writers_of_one_block_keep_the_parts_of_others),
		cmocka_unit_test(the_largest_export_does_not_overflow),
		cmocka_unit_test(
			writes_are_durable_at_once_on_a_server_without_flush),
		cmocka_unit_test(a_server_with_flush_gets_no_fua),
		cmocka_unit_test(zeroing_is_done_in_pieces),
		cmocka_unit_test(pieces_are_short_where_zeroing_is_slow),
		cmocka_unit_test(discarding_is_done_in_pieces),
		cmocka_unit_test(a_server_that_zeroes_less_is_found_out),
		cmocka_unit_test(
			a_server_that_zeroes_from_later_on_is_found_out),
		cmocka_unit_test(a_check_that_failed_does_not_count),
		cmocka_unit_test(
			the_ends_of_a_check_that_failed_are_read_again),
		cmocka_unit_test(a_piece_of_each_64_mib_is_checked),
		cmocka_unit_test(an_interrupted_queue_gives_its_buffers_back),
		cmocka_unit_test(
			a_queue_takes_parts_from_a_server_that_refuses_one_piece),
		cmocka_unit_test(a_queue_waits_for_an_interrupted_write),
		cmocka_unit_test(zeros_come_after_an_interrupted_write),
		cmocka_unit_test(
			no_write_is_left_out_before_an_interrupted_one),
		cmocka_unit_test(
			the_end_of_an_object_waits_for_an_interrupted_write),
		cmocka_unit_test(the_end_waits_even_if_zeroing_fails),
		cmocka_unit_test(a_read_only_object_forgets_all_and_goes_on),
		cmocka_unit_test(a_read_without_a_server_fails),
		cmocka_unit_test(
			the_wait_for_a_thread_that_connects_can_be_interrupted),
		cmocka_unit_test(a_writable_object_without_markers_goes_on),
		cmocka_unit_test(markers_do_not_reach_the_next_server),
		cmocka_unit_test(calls_that_change_nothing_lose_nothing),
		cmocka_unit_test(unflushed_writes_end_a_writable_object),
		cmocka_unit_test(
			writes_that_were_left_out_end_a_writable_object),
		cmocka_unit_test(
			zeros_that_were_relied_upon_end_a_writable_object),
		cmocka_unit_test(
			a_hole_is_not_relied_upon_without_a_connection),
		cmocka_unit_test(zeros_that_are_left_as_they_are_may_be_lost),
		cmocka_unit_test(
			markers_made_without_a_connection_do_not_reach_the_next_server),
		cmocka_unit_test(
			an_export_that_becomes_read_only_refuses_writes),
		cmocka_unit_test(the_next_export_may_be_smaller),
		cmocka_unit_test(no_reader_gets_what_another_server_had),
	};

	return cmocka_run_group_tests_name("nbd-device", tests, NULL, NULL);
}
