/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device in memory that records each call, and fails, waits, shrinks or is
 * written to by others as it is told. Tests say with it exactly what should
 * have been asked of the device, and that nothing else was.
 */
#ifndef FAKE_DEVICE_H
#define FAKE_DEVICE_H

#include "device/device.h"

enum fake_kind {
	FAKE_WRITE,
	FAKE_THROUGH, /* a write whose failure is known when it returns */
	FAKE_PUNCH,
	FAKE_ZERO_OUT,
	FAKE_UNMAP,
	FAKE_WRITE_BACK, /* which changes nothing */
};

struct fake_call {
	uint64_t off;
	uint64_t len;
	enum fake_kind kind; /* of a change; reads are in a list of their own */
};

struct fake;

/* A device of size zero bytes. */
struct fake *fake_new(uint64_t size);

/* As what it is given to bsp_sparse_new(); that frees it, too. */
struct bsp_device *fake_device(struct fake *fake);

/* Its bytes; to be filled before it is used by others. */
unsigned char *fake_bytes(struct fake *fake);

/* Fills [off, off + len) as another program would: the counters move. */
void fake_write(struct fake *fake, uint64_t off, uint64_t len, int byte);

/* The same, but it stays in the page cache until it is pushed out. */
void fake_write_dirty(struct fake *fake, uint64_t off, uint64_t len, int byte);

/* Its size from now on; at most the size it was made with. 0: it is gone. */
void fake_resize(struct fake *fake, uint64_t size);

/* Reads that touch [off, off + len) fail; bytes before it may be read short. */
void fake_fail_reads(struct fake *fake, uint64_t off, uint64_t len, int errnum);

/* A read gives so many bytes at most. */
void fake_limit_reads(struct fake *fake, uint64_t max);

/* Reads never say that they end before a failing range: they fail. */
void fake_fail_whole(struct fake *fake);

/* Says, without a read, that [off, off + len) is zero. */
void fake_know_zeros(struct fake *fake, uint64_t off, uint64_t len);

/* Nobody counts writes. */
void fake_stop_counting(struct fake *fake);

/* Another medium, another place in a loop device's file, or another table of
 * the device mapper; the bytes stay, and may be changed as well. */
void fake_change_medium(struct fake *fake);
void fake_change_file(struct fake *fake);
void fake_change_table(struct fake *fake);

/* Whether samples of its content are settled; at first they are. */
void fake_set_settled(struct fake *fake, bool settled);

/* From now on the device has byte in [off, off + len), which reads find when
 * the pages of its node are dropped. */
void fake_put_beneath(struct fake *fake, uint64_t off, uint64_t len, int byte);

/* The next n times a page is left over. */
void fake_fail_drops(struct fake *fake, unsigned n);

/* How often pages were dropped, or were to be, in all. */
unsigned fake_drops(struct fake *fake);

/* Is called in each read, after the bytes were taken. */
void fake_on_read(struct fake *fake, void (*hook)(void *data), void *data);

/* Is called before the counters are looked at. */
void fake_on_sample(struct fake *fake, void (*hook)(void *data), void *data);

/* The reads since the last call of this; the list lives until the next one. */
size_t fake_reads(struct fake *fake, const struct fake_call **ret_reads);

/* --- Writable devices --- */

/* May be written; has none of the ways to zero but those given (bits of
 * 1 << FAKE_PUNCH and so on). Unmapping leaves 0x55 behind in odd blocks of
 * 4096 bytes: it promises nothing. */
void fake_make_writable(struct fake *fake, unsigned ways);

/* Writes and zeroing that touch [off, off + len) fail; len 0 ends that. What
 * lies before it in the call is done. */
void fake_fail_writes(struct fake *fake, uint64_t off, uint64_t len,
		      int errnum);

/* Zeroing commands of these kinds that touch [off, off + len) fail, and change
 * nothing; 0 kinds: none. */
void fake_fail_commands(struct fake *fake, unsigned kinds, uint64_t off,
			uint64_t len, int errnum);

/* Is called before each zeroing command. */
void fake_on_zeroing(struct fake *fake, void (*hook)(void *data), void *data);

/* What flush gives. */
void fake_fail_flush(struct fake *fake, int errnum);

/* Is called in each flush, before it succeeds or fails. */
void fake_on_flush(struct fake *fake, void (*hook)(void *data), void *data);

/*
 * From now on the device is told apart from what is cached of it, where writes
 * are until they are flushed, or that part is read through. A flush that fails
 * loses:
 */
enum fake_loss {
	FAKE_LOSES_WRITES, /* what was only in the cache */
	FAKE_LOSES_ALL,	   /* all since the last good flush */
};
void fake_cache(struct fake *fake, enum fake_loss loss);

/* The cache cannot be read past, and a write through that fails is in it all
 * the same. */
void fake_deceive(struct fake *fake);

/* What the device itself holds; after fake_cache(). */
const unsigned char *fake_disk(struct fake *fake);

/* The changes since the last call of this; the list lives until the next. */
size_t fake_changes(struct fake *fake, const struct fake_call **ret_changes);

/* How often it was flushed, in all. */
unsigned fake_flushes(struct fake *fake);

/* How often the content was sampled, in all. */
unsigned fake_samples(struct fake *fake);

#endif
