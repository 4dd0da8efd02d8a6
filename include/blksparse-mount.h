/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The part of libblksparse that only blksparsefs calls: a thread that scans
 * ahead of seeks, writeback behind a sequential writer, and looks at the device
 * that suit a file server.
 *
 * This header is not installed. Its functions are in the version node
 * BLKSPARSE_PRIVATE of the library: they may change or go in any release, so
 * that blksparsefs needs the library that it was built with. Functions that
 * other programs can use belong in blksparse.h.
 *
 * Units, ranges, errors and rules for threads are those of blksparse.h.
 */
#ifndef BLKSPARSE_MOUNT_H
#define BLKSPARSE_MOUNT_H

#include "blksparse.h"

G_BEGIN_DECLS

/* --- Looking at the device --- */

/*
 * As bsp_sparse_refresh(), and asks the device mapper as well, which takes
 * longer, whether the device has a new table. A caller that watches an object
 * calls this about once a second.
 */
uint64_t bsp_sparse_refresh_all(struct bsp_sparse *sp);

/*
 * As bsp_sparse_refresh_all(), for the opening or the stat of a file that shows
 * the object. If the kernel does not count writes to the device, it calls
 * bsp_sparse_assume_written(), too: no other look moves mtime of such a device,
 * although each look counts as a change. While the last change is too recent to
 * tell whether another one followed it, each call counts as a change as well.
 */
uint64_t bsp_sparse_refresh_mtime(struct bsp_sparse *sp);

/*
 * Connects anew to a device on a network, if the connection was lost, after
 * forgetting all. Reads, writes and flushes call it; an opening does so before
 * its look, which no interrupt ends while another thread connects. Returns 0,
 * -EIO if there is no connection, or -EINTR if this thread was interrupted
 * while another one connected. After an error nothing may be written: zeros
 * would become markers, and reach the next medium behind the address. The
 * caller holds no lock.
 */
int bsp_sparse_connect(struct bsp_sparse *sp);

/*
 * Assumes that another program wrote to the device since the last look: moves
 * mtime (struct bsp_stat) to now, but at most once a second, so that a stat and
 * the opening after it agree. Never waits for the device.
 */
void bsp_sparse_assume_written(struct bsp_sparse *sp);

/*
 * As bsp_sparse_stat(), but never waits for the device, nor for another thread
 * that does. Returns false if *ret_stat cannot be relied upon without a look:
 * it would say that no granule is data, or the kernel knows another size of the
 * device. bsp_sparse_stat() does that look. A caller that cannot wait for it
 * shows a file of at least one block. *ret_stat is set in both cases.
 */
bool bsp_sparse_stat_nowait(struct bsp_sparse *sp, struct bsp_stat *ret_stat);

/* --- Figures --- */

/*
 * The work of an object so far, for people. Bytes and numbers count from
 * bsp_sparse_new() on.
 */
struct bsp_figures {
	uint64_t pending; /* bytes of the file that are still to be zeroed */
	uint64_t read;	  /* bytes read from the device, for any reason */
	uint64_t written; /* bytes written to it, with the zeros among them */
	uint64_t zeroed;  /* bytes that commands zeroed or unmapped */
	/* Bytes that cost no I/O: */
	uint64_t saved_seeks;  /* seeks for data passed them as zeros */
	uint64_t saved_holes;  /* reads found in the map that they are zeros */
	uint64_t saved_zeros;  /* zeros that were written, and changed only the
				  map; a flush zeroes the device later */
	uint64_t saved_same;   /* writes of bytes that the device held */
	uint64_t read_errors;  /* reads of the device that failed */
	uint64_t write_errors; /* writes and commands that failed */
	uint64_t failed_flushes; /* bsp_sparse_failed_flushes() */
	uint64_t other_writers;	 /* looks that found writes of other programs */
	bool gone;		 /* as after BSP_CHANGE_GONE */
	bool distrusted;	 /* as after BSP_CHANGE_FALSE_ZEROS */
	/* Of the device: st_rdev, st_dev and st_ino of stat(2); 0 for an
	 * export. */
	uint64_t device_number;
	uint64_t file_system;
	uint64_t inode;
};

/* Gives the figures. Never waits for the device, nor for another thread that
 * does. */
void bsp_sparse_figures(struct bsp_sparse *sp, struct bsp_figures *ret);

/* An operation of a device that failed. */
enum bsp_failing {
	BSP_FAILING_READ,
	BSP_FAILING_WRITE,
	BSP_FAILING_ZERO, /* a command that zeroes; zeros are written instead */
	BSP_FAILING_FLUSH,
	BSP_FAILINGS, /* the number of these */
};

/* The failures of an operation, for people. off and error are those of a recent
 * one; if two failed at once, they may be of different ones. */
struct bsp_failures {
	uint64_t n;   /* since bsp_sparse_new() */
	uint64_t off; /* bytes; n 0, or a flush: not set */
	int error;    /* -errno; n 0: not set */
};

/* Gives the failures of an operation of the device. Waits as little as the
 * above. */
void bsp_sparse_failures(struct bsp_sparse *sp, enum bsp_failing operation,
			 struct bsp_failures *ret);

/*
 * Gives the zeros that each layer below the device knew, for up to max layers,
 * without the reasons of the others. Names stay valid for ever. Returns the
 * number of layers. Waits as little as the above.
 */
size_t bsp_sparse_known_counts(struct bsp_sparse *sp,
			       struct bsp_known_layer *ret_layers, size_t max);

/* --- Devices on a network --- */

/* Returns a name for the file that shows the NBD export: that of the export, of
 * its socket, or of its host. To be freed by g_free(). */
char *bsp_nbd_uri_name(const char *uri) BSP_NONNULL(1);

/* Returns text with "***" in place of the passwords of NBD URIs in it, to be
 * freed by g_free(). */
char *bsp_nbd_uri_redact(const char *text) BSP_NONNULL(1);

/* Overwrites the passwords of NBD URIs in text, in place. */
void bsp_nbd_uri_hide(char *text) BSP_NONNULL(1);

/* --- Messages --- */

/* Puts a question mark in place of each control character in text, in place:
 * the name of a file or of an export may have any, and a terminal obeys them.
 */
void bsp_make_printable(char *text) BSP_NONNULL(1);

/* --- Scanning ahead --- */

#define BSP_SCAN_AHEAD_WINDOW_DEFAULT ((uint64_t)64 << 20)

/*
 * Receives the bytes of [off, off + len), all of them data: either the scan
 * thread has just read them, and the map does not tell yet that they are data,
 * or they are known to be data and a reader is about to need them (see
 * bsp_sparse_report_read()). Called by the scan thread; buf is valid during the
 * call only. The bytes are out of date as soon as
 * bsp_sparse_is_current(sp, generation) returns false.
 */
typedef void (*bsp_scanned_fn)(void *data, uint64_t generation, uint64_t off,
			       const void *buf, uint64_t len);

/* Zero or NULL in a field stands for its default. */
struct bsp_scan_ahead_options {
	/* How far the thread scans ahead of seeks, bytes. Default
	 * BSP_SCAN_AHEAD_WINDOW_DEFAULT. */
	uint64_t window;
	/* Receives data of the window. Default: none. */
	bsp_scanned_fn scanned;
	void *scanned_data;
};

/*
 * Starts the scan thread. It scans on from where seeks are, with several reads
 * in flight, while their caller is busy elsewhere; seeks then wait for the
 * thread and do not read. It takes 4 MiB of memory (16 MiB with the largest
 * granule) while it works, and sleeps while there is nothing to do. Call it
 * once, before other threads use the object. Returns 0 or -errno.
 */
int bsp_sparse_scan_ahead_start(struct bsp_sparse *sp,
				const struct bsp_scan_ahead_options *options);

/* Asks the scan thread to end. Seeks that wait for it read for themselves. */
void bsp_sparse_scan_ahead_stop(struct bsp_sparse *sp);

/* Whether the scan thread still runs. Once asked to end, it may take as long as
 * the device takes to answer. */
bool bsp_sparse_scan_ahead_running(struct bsp_sparse *sp);

/* Waits until the scan thread has ended. No other call on the object may run.
 * bsp_sparse_free() does the same. */
void bsp_sparse_scan_ahead_join(struct bsp_sparse *sp);

/* Whether the scan thread, when no seek has needed it for a second, scans the
 * rest of the device. No effect without a scan thread. */
void bsp_sparse_scan_ahead_set_background(struct bsp_sparse *sp,
					  bool background);

/*
 * Reports a read at off. A caller that caches the bytes that its bsp_scanned_fn
 * received, and serves reads from them, calls this on each miss, and now and
 * then on a hit. The scan thread then reads known data ahead of that reader, if
 * it reads where seeks are. No effect without a scan thread. Any thread.
 */
void bsp_sparse_report_read(struct bsp_sparse *sp, uint64_t off);

/* Whether no content was found out of date since generation, which a
 * bsp_scanned_fn received. */
bool bsp_sparse_is_current(struct bsp_sparse *sp, uint64_t generation);

/* --- Writing --- */

/*
 * As bsp_sparse_write(), for pages of a mapping that the kernel writes back. A
 * program stored some of their bytes, and the others come along. If a flush
 * fails later, the program stores its own bytes again, but not the zeros beside
 * them. So zeros in the range that the device may still lose are made durable
 * first, which takes a flush of the device.
 */
ssize_t bsp_sparse_write_pages(struct bsp_sparse *sp, uint64_t off,
			       const void *buf, size_t len);

/* --- Writeback --- */

/* Whether a sequential writer has left enough behind it for a call of
 * bsp_sparse_write_back(). O(1). Any thread. */
bool bsp_sparse_writeback_due(struct bsp_sparse *sp);

/*
 * Works behind a sequential writer, so that its next flush is short: zeroes the
 * device where the zeros between its data belong, and has the kernel start to
 * write the data back. The call may take as long as the device takes to zero
 * these ranges; writers do not wait for it. A range that fails stays as it is:
 * the next flush tries it again and returns the error. One thread at a time.
 */
void bsp_sparse_write_back(struct bsp_sparse *sp,
			   bsp_interrupted_fn interrupted, void *data);

G_END_DECLS

#endif
