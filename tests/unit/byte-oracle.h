/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The oracle: the values that each byte of a file may have. It knows nothing of
 * granules, nor how the library keeps a file. The test reports the operations
 * with their results, and the sectors that the disk lost.
 *
 * Each byte has sets of values (bits of 1 << value):
 *
 *	may	a read may give these
 *	below	a disk that loses its cache may bring these back to readers
 *	stale	the disk may hold these below zeros, where no reader sees them
 *
 * A disk may lose data, and bring back any value since the last good flush. A
 * byte that was zeroed for good (in a hole that was punched, past the end of a
 * file that was cut, in a granule of zeros) has the zero alone in may and in
 * below: no loss brings old bytes back, until data is written over it. Bytes
 * past the file's end are zeroed for good: a file that grows shows zeros.
 *
 * A byte is touched from its change until the next good flush. A byte that is
 * not touched must be durable.
 */
#ifndef BYTE_ORACLE_H
#define BYTE_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

struct oracle {
	uint64_t size;	 /* of the file */
	uint64_t device; /* the device's, as far as the file has found out */
	uint16_t junk;	 /* fixed; a bit, see oracle_zeroed() */
	uint16_t *may, *below, *stale;
	bool *zeroed; /* for good, and not written since */
	bool *touched;
	unsigned char *synced; /* as of the last good flush, if not touched */
};

struct oracle *oracle_new(uint64_t capacity, unsigned char junk);
void oracle_free(struct oracle *o);

/* The file shows the device's own bytes in [off, end). bytes holds the device's
 * bytes from offset 0 on. */
void oracle_loaded(struct oracle *o, uint64_t off, uint64_t end,
		   const unsigned char *bytes);

/* [off, end) was written; buf[0] is the byte of off. A NULL buf is zeros. */
void oracle_wrote(struct oracle *o, uint64_t off, uint64_t end,
		  const unsigned char *buf);

/* A write of [off, end) failed: each byte of it may be there or not. */
void oracle_write_failed(struct oracle *o, uint64_t off, uint64_t end,
			 const unsigned char *buf);

/* A write of [off, end) failed past the end of the file: no reader sees it. */
void oracle_write_failed_past_end(struct oracle *o, uint64_t off, uint64_t end,
				  const unsigned char *buf);

/* [off, end) is zero for good. The disk may hold junk there, a value that
 * unmapping leaves. */
void oracle_zeroed(struct oracle *o, uint64_t off, uint64_t end);

/* The device has grown by [off, end), but the file ends before: no reader sees
 * these bytes. */
void oracle_hidden(struct oracle *o, uint64_t off, uint64_t end);

/* The file has a new size: bytes that it lost or gained are zero for good. */
void oracle_resized(struct oracle *o, uint64_t size);

/* [off, end) may be written again with the same bytes. */
void oracle_touched(struct oracle *o, uint64_t off, uint64_t end);

/* The disk lost the bytes of [off, end) that were not durable. */
void oracle_lost(struct oracle *o, uint64_t off, uint64_t end);

/* After a good flush the byte at off is durable, with this value. If the sector
 * was lost, readers may still see a newer value for a while. */
void oracle_synced(struct oracle *o, uint64_t off, unsigned char byte,
		   bool lost);

/* Whether the byte at off may have this value. */
static inline bool oracle_may(const struct oracle *o, uint64_t off,
			      unsigned char byte)
{
	return o->may[off] >> byte & 1;
}

#endif
