/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device in memory that records each call. A test can make it fail, shrink,
 * or change as if another program wrote to it, and can run a function of its
 * own within a call. Tests assert the exact list of reads and changes that the
 * device was asked for, and so also that there were no others.
 *
 * Threads: any. Hooks run in the thread that made the call, without the
 * device's lock.
 */
#ifndef FAKE_DEVICE_H
#define FAKE_DEVICE_H

#include "device/device.h"

enum fake_kind {
	FAKE_WRITE,
	FAKE_THROUGH, /* write_through() */
	FAKE_PUNCH,
	FAKE_ZERO_OUT,
	FAKE_UNMAP,
	FAKE_WRITE_BACK, /* changes nothing */
	FAKE_READ,
	FAKE_READ_THROUGH, /* read_through() */
};

struct fake_call {
	uint64_t off;
	uint64_t len;
	enum fake_kind kind; /* reads have a list of their own */
};

struct fake;

/* Returns a device of size bytes, all zero. */
struct fake *fake_new(uint64_t size);

/* Returns the device for bsp_sparse_new(), which will free it. */
struct bsp_device *fake_device(struct fake *fake);

/* Returns the bytes. Fill them before other threads use the device. */
unsigned char *fake_bytes(struct fake *fake);

/* Fills [off, off + len) as another program does: the counters move. */
void fake_write(struct fake *fake, uint64_t off, uint64_t len, int byte);

/* Does the same, but the counters move only at the next sample, as for a write
 * that is in the page cache until then. */
void fake_write_dirty(struct fake *fake, uint64_t off, uint64_t len, int byte);

/* Sets the size, at most that of fake_new(). 0: the device is gone. */
void fake_resize(struct fake *fake, uint64_t size);

/* Makes reads that touch [off, off + len) fail; a read that begins before it
 * ends short. */
void fake_fail_reads(struct fake *fake, uint64_t off, uint64_t len, int errnum);

/* Makes reads return at most max bytes. */
void fake_limit_reads(struct fake *fake, uint64_t max);

/* Makes reads that touch a failing range fail at once, instead of ending short.
 */
void fake_fail_whole(struct fake *fake);

/* Makes known() tell that [off, off + len) is zero, whether it is or not, until
 * the trust is BSP_KNOWN_OFF. */
void fake_know_zeros(struct fake *fake, uint64_t off, uint64_t len);

/* Makes known() tell which blocks of 4096 bytes are zero at the moment. As a
 * layer below, it does not see dirty writes until the next sample. These have
 * to be to blocks that were zero. */
void fake_know_true_zeros(struct fake *fake);

/* Sets a function that known() calls last. */
void fake_on_question(struct fake *fake, void (*hook)(void *data), void *data);

/* Returns how often known() was asked. */
unsigned fake_questions(struct fake *fake);

/* Makes the device one whose writes are not counted. */
void fake_stop_counting(struct fake *fake);

/* Give the device another medium, another offset in a loop device's file, or
 * another table of the device mapper. The bytes stay as they are. */
void fake_change_medium(struct fake *fake);
void fake_change_file(struct fake *fake);
void fake_change_table(struct fake *fake);

/* Gives the device other layers below. */
void fake_change_layers(struct fake *fake);

/* Sets whether samples of the content are settled; at first they are. */
void fake_set_settled(struct fake *fake, bool settled);

/* Sets whether the time of a file below is young; at first it is not. */
void fake_set_young(struct fake *fake, bool young);

/* Puts byte into [off, off + len) of the device, below cached pages: reads
 * return it after drop_pages(). */
void fake_put_beneath(struct fake *fake, uint64_t off, uint64_t len, int byte);

/* Makes the next n calls of drop_pages() leave a page. */
void fake_fail_drops(struct fake *fake, unsigned n);

/* Returns how often drop_pages() was called. */
unsigned fake_drops(struct fake *fake);

/* Sets a function that each read calls after it has copied the bytes. */
void fake_on_read(struct fake *fake, void (*hook)(void *data), void *data);

/* Sets a function that each sample of the content calls first. */
void fake_on_sample(struct fake *fake, void (*hook)(void *data), void *data);

/* Returns the reads since the last call of this function. The list is valid
 * until the next call. */
size_t fake_reads(struct fake *fake, const struct fake_call **ret_reads);

/* --- Writable devices --- */

/* Makes the device writable, with the given commands for zeroing (bits of
 * 1 << FAKE_PUNCH and so on). Unmapping, which promises nothing, leaves 0x55 in
 * odd blocks of 4096 bytes. */
void fake_make_writable(struct fake *fake, unsigned ways);

/* Makes writes and zeroing that touch [off, off + len) fail, after the part of
 * the range before it was changed. len 0 ends that. */
void fake_fail_writes(struct fake *fake, uint64_t off, uint64_t len,
		      int errnum);

/* Makes zeroing commands of these kinds that touch [off, off + len) fail and
 * change nothing. 0 kinds ends that. */
void fake_fail_commands(struct fake *fake, unsigned kinds, uint64_t off,
			uint64_t len, int errnum);

/* Sets a function that each write, also one that goes through, calls first,
 * with its offset. */
void fake_on_write(struct fake *fake, void (*hook)(void *data, uint64_t off),
		   void *data);

/* Sets a function that each zeroing command calls first. */
void fake_on_zeroing(struct fake *fake, void (*hook)(void *data), void *data);

/* Makes flush return -errnum; 0 ends that. */
void fake_fail_flush(struct fake *fake, int errnum);

/* Sets a function that each flush calls first. */
void fake_on_flush(struct fake *fake, void (*hook)(void *data), void *data);

/*
 * Gives the device a page cache. From now on a write is in the cache alone
 * until a flush, or until read_through() reads the range. A flush that fails
 * loses:
 */
enum fake_loss {
	FAKE_LOSES_WRITES, /* the bytes that were in the cache alone */
	FAKE_LOSES_ALL,	   /* all changes since the last good flush */
};
void fake_cache(struct fake *fake, enum fake_loss loss);

/* Makes read_through() read the cache, and write_through() change the cache
 * even if it fails, as a cache in a layer below the device does. */
void fake_deceive(struct fake *fake);

/* Returns the bytes that the device itself holds, after fake_cache(). */
const unsigned char *fake_disk(struct fake *fake);

/* Returns the changes since the last call of this function. The list is valid
 * until the next call. */
size_t fake_changes(struct fake *fake, const struct fake_call **ret_changes);

/* Returns how often the device was flushed. */
unsigned fake_flushes(struct fake *fake);

/* Returns how often the content was sampled. */
unsigned fake_samples(struct fake *fake);

#endif
