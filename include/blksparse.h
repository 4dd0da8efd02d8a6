/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libblksparse: a block device as a sparse file.
 *
 * A block device has no holes, and does not answer lseek(SEEK_DATA). This
 * library finds the zeros by reading, once, and remembers them:
 *
 *	struct bsp_device *dev = bsp_device_open("/dev/sdb", &error);
 *	struct bsp_sparse *sp = bsp_sparse_new(dev, NULL, &error);
 *
 *	for (uint64_t off = 0; bsp_sparse_seek_data(sp, off, NULL, NULL,
 *						    &data) == 0; off = hole) {
 *		bsp_sparse_seek_hole(sp, data, NULL, NULL, &hole);
 *		... [data, hole) may hold bytes that are not zero ...
 *	}
 *	bsp_sparse_free(sp);
 *
 * The device is divided into granules, and each of them is unknown, data or a
 * hole (or, on a writable object, a marker: zeros that the device still has to
 * be given). Whoever reads learns: a granule that was read once, by a seek, a
 * scan or a read, is never read again to find out whether it is zero.
 *
 * Errors. Functions that set something up return NULL or false and a GError,
 * whose message names the object and the system call. Functions that do I/O
 * return 0 or a count, or a negative errno. No function does both.
 *
 * Offsets and lengths are in bytes; ranges are [off, off + len).
 *
 * Threads. Every function that takes a struct bsp_sparse may be called from
 * several threads at once, but for bsp_sparse_free(). The library prints
 * nothing, installs no signal handler, and starts threads only in bsp_copy()
 * and bsp_send(), which end them.
 *
 * Growth. Structures that a later version may extend end in reserved fields,
 * from which it takes new ones. Set structures that the library reads to zero
 * before setting fields, as C and C++ do for the fields that an initializer
 * does not name: zero always stands for the default, and an older library
 * refuses a field that it does not know (BSP_ERROR_USAGE or -EINVAL). The
 * library sets the reserved fields of structures that it fills in to zero.
 * Enumerations may get new values at their end.
 *
 * With BLKSPARSE_TRACE=1 in the environment the library writes one line an
 * operation to standard error (blksparse(1)).
 */
#ifndef BLKSPARSE_H
#define BLKSPARSE_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

G_BEGIN_DECLS

/* --- Version --- */

/* The version of this header. */
#define BSP_VERSION_MAJOR 0
#define BSP_VERSION_MINOR 1
#define BSP_VERSION_MICRO 0

/* A version as one number that can be compared. Each part is below 1000. */
#define BSP_VERSION_NUMBER(major, minor, micro)                                \
	((major)*1000000u + (minor)*1000u + (micro))

/* Whether this header is of that version or a later one; also in #if. */
#define BSP_CHECK_VERSION(major, minor, micro)                                 \
	(BSP_VERSION_NUMBER(BSP_VERSION_MAJOR, BSP_VERSION_MINOR,              \
			    BSP_VERSION_MICRO) >=                              \
	 BSP_VERSION_NUMBER(major, minor, micro))

/* The version of the library that the program runs with, as
 * BSP_VERSION_NUMBER() gives it. */
unsigned bsp_version(void);

/* --- Errors that a person reads --- */

#define BSP_ERROR (bsp_error_quark())

/* Take a code that is not listed here as BSP_ERROR_FAILED. */
enum bsp_error {
	BSP_ERROR_FAILED,      /* a system call, a device or a stream failed */
	BSP_ERROR_USAGE,       /* the call asks for something impossible */
	BSP_ERROR_INTERRUPTED, /* the caller's bsp_interrupted_fn said so */
	BSP_ERROR_TOO_SMALL,   /* the target is too small for the content */
	BSP_ERROR_DIFFERS,     /* the copy was verified, and differs */
};

GQuark bsp_error_quark(void);

/* --- Callbacks --- */

/*
 * Called often in a call that may take long. Returns true to have that call end
 * early. It runs in the thread that made the call, must be quick, and must not
 * call a function on the same object. A NULL in its place never interrupts.
 */
typedef bool (*bsp_interrupted_fn)(void *data);

/* What a transfer is doing. */
enum bsp_phase {
	BSP_PHASE_TRANSFER, /* reading the source, writing the target */
	BSP_PHASE_FLUSH,    /* zeroing the holes left, making all durable */
	BSP_PHASE_VERIFY,   /* reading both again, and comparing */
};

/* How far a transfer or a scan has come. All sizes are in bytes. */
struct bsp_progress {
	enum bsp_phase phase;
	bool size_known; /* false for a raw stream until its end */
	uint64_t size;	 /* of the content; of a scan, of its range */
	uint64_t start;	 /* where a stream starts; 0 unless it was resumed */
	/*
	 * During a call, [start, done) is done; a copy and a scan work in
	 * several places at once, and count bytes.
	 * When bsp_send() has returned, [start, done) was sent.
	 * When bsp_recv() has returned, [0, done) of the target is good and
	 * durable, provided that [0, start) was good before; 0 if that is not
	 * certain.
	 * When bsp_copy() has returned, size, or 0 if it failed.
	 */
	uint64_t done;
	uint64_t data;	/* bytes of [start, done) that were data */
	uint64_t hole;	/* bytes of [start, done) that were zero */
	uint64_t moved; /* bytes of the stream that were read or written */
	uint64_t reserved[8];
};

/* Called often with the progress of a call, in the thread that made it. NULL
 * in its place: not called. */
typedef void (*bsp_progress_fn)(void *data,
				const struct bsp_progress *progress);

/* --- Sizes as people write them --- */

/*
 * Reads a size: a decimal number of bytes, or one with a unit: K, M, G, T, P
 * (also Ki, KiB, KB; all are powers of 1024, in either case). Sets *ret_size.
 * On failure *ret_size is untouched and the message names what is wrong with
 * the text, but not which option it was given to. Any thread.
 */
bool bsp_parse_size(const char *text, uint64_t *ret_size, GError **error);

/* --- Devices --- */

/*
 * An open block device, or an image file that stands in for one.
 */
struct bsp_device;

/* What a device is, as of opening. */
struct bsp_device_info {
	uint64_t size;		     /* bytes */
	uint32_t logical_block_size; /* bytes; 512 for an image file */
	bool is_block;		     /* a block device, not an image file */
	bool writable;		     /* by bsp_device_open_writable() */
	uid_t uid;		     /* of the device's node, or the image */
	gid_t gid;
	mode_t mode;	       /* permission bits only */
	struct timespec mtime; /* of an image; the opening of a device */
	uint64_t reserved[4];
};

/*
 * Opens the block device or regular file at path for reading. Any number of
 * others may have it open. Returns NULL and an error when it cannot be
 * opened, is neither, or is empty. Any thread.
 */
struct bsp_device *bsp_device_open(const char *path, GError **error);

/*
 * Opens it for reading and writing, and for itself: a block device that is
 * mounted, used as swap, part of another device, or opened like this by
 * another program is refused, and so is an image file that another program has
 * locked, or either when it is read-only. The message says what holds it.
 */
struct bsp_device *bsp_device_open_writable(const char *path, GError **error);

/*
 * Opens the regular file at path like bsp_device_open_writable(), made if it is
 * missing, and makes it size bytes long, all of them a hole: what it held is
 * gone. A file that cannot be had for itself is refused untouched, and so is a
 * path at which there is something else, or a size of 0. If from is not NULL,
 * it is to be copied there: a file that holds any of it is refused, too.
 */
struct bsp_device *bsp_device_create_image(const char *path, uint64_t size,
					   const struct bsp_device *from,
					   GError **error);

/* Closes dev, which may be NULL. bsp_sparse_new() takes a device over: do not
 * close it after that. */
void bsp_device_close(struct bsp_device *dev);

/* The path it was opened by; lives as long as the device. */
const char *bsp_device_path(const struct bsp_device *dev);

void bsp_device_get_info(const struct bsp_device *dev,
			 struct bsp_device_info *ret_info);

/* --- The sparse object --- */

struct bsp_sparse;

enum {
	BSP_GRANULE_MIN = 4096,
	BSP_GRANULE_MAX = 1 << 20,
	BSP_GRANULE_DEFAULT = 4096,
};

#define BSP_LOOKAHEAD_DEFAULT ((uint64_t)32 << 20)

/* How zeros that were written are carried out on the device. */
enum bsp_zero_mode {
	BSP_ZERO_UNMAP, /* give the space back where that gives zeros */
	BSP_ZERO_KEEP,	/* without giving space back, by offload if it can */
	BSP_ZERO_WRITE, /* write zeros */
};

/* Zero in a field stands for its default. */
struct bsp_sparse_options {
	/*
	 * The unit in which data and holes are told apart, bytes: a power of
	 * two in [BSP_GRANULE_MIN, BSP_GRANULE_MAX], and at least the device's
	 * logical block. Default BSP_GRANULE_DEFAULT, or that block.
	 */
	uint64_t granule;
	/*
	 * How far bsp_sparse_seek_hole() scans ahead of where it was asked
	 * before it answers with a boundary, bytes; at least a granule.
	 * Default BSP_LOOKAHEAD_DEFAULT.
	 */
	uint64_t lookahead;
	/*
	 * How long either seek scans before it answers with a boundary,
	 * milliseconds. Default 1000.
	 */
	uint32_t budget_ms;
	enum bsp_zero_mode zero_mode; /* of a writable device */
	/*
	 * Holes that are shorter, bytes, are data for the seeks (not for
	 * others): each hole costs who asks two seeks, which is more than
	 * reading a few zeros. At most 16 MiB. Default: all holes count.
	 */
	uint64_t minhole;
	uint64_t reserved[8];
};

/*
 * Makes an object of dev, and takes dev over in any case: the object closes it,
 * or this function does, if it fails. If dev is NULL, it returns NULL and
 * leaves *error as it is, so that the call that opens the device can be its
 * argument. options may be NULL. It reads nothing yet. It fails if an option
 * does not fit the device (BSP_ERROR_USAGE), or without memory.
 */
struct bsp_sparse *bsp_sparse_new(struct bsp_device *dev,
				  const struct bsp_sparse_options *options,
				  GError **error);

/* Ends it and closes its device; NULL is fine. No other call may be running. */
void bsp_sparse_free(struct bsp_sparse *sp);

/*
 * Is told that another program wrote to the device, or that the device's size
 * changed: what was learned before, and whatever the caller has cached of the
 * content, is out of date. Called from any thread that is inside any call on
 * the object, possibly from several at once; it must not call back into the
 * object.
 */
enum bsp_change {
	BSP_CHANGE_CONTENT,	/* another program wrote to the device */
	BSP_CHANGE_SIZE,	/* it grew or shrank */
	BSP_CHANGE_UNWATCHABLE, /* nobody counts writes to it, so that it may
				   have changed; told at every look */
	BSP_CHANGE_MEDIUM,	/* it has another medium, file or table; all
				   of it may have changed */
	BSP_CHANGE_GONE,	/* it has another medium, and was writable:
				   every call gives -ENODEV from now on */
};
typedef void (*bsp_changed_fn)(void *data, enum bsp_change change);

/* Sets who is told. To be called before the object is used by others. */
void bsp_sparse_set_changed(struct bsp_sparse *sp, bsp_changed_fn changed,
			    void *data);

/*
 * Looks whether another program wrote to the device since the last look (see
 * blksparsefs(8), OTHER WRITERS, for what can be seen), or its size changed,
 * and forgets what is out of date. Seeks, and reads of holes, do this by
 * themselves; a caller that caches content calls it now and then. Returns a
 * number that is different after each change.
 */
uint64_t bsp_sparse_refresh(struct bsp_sparse *sp);

/* The logical size, bytes. */
uint64_t bsp_sparse_size(struct bsp_sparse *sp);

/* The granule, bytes. */
uint32_t bsp_sparse_granule(const struct bsp_sparse *sp);

/* The device's properties, as bsp_device_get_info(). */
void bsp_sparse_get_info(const struct bsp_sparse *sp,
			 struct bsp_device_info *ret_info);

struct bsp_stat {
	uint64_t size;	   /* logical size, bytes */
	uint64_t capacity; /* the device's size, bytes: how far the file can
			      grow */
	uint64_t blocks;   /* for stat's st_blocks: 512-byte units of data and
			      unknown; while anything is unknown, less than
			      size / 512 but never 0; exact afterwards */
	uint64_t unknown;  /* bytes nobody looked at yet */
	uint64_t data;	   /* bytes in data granules */
	uint64_t hole;	   /* bytes in holes and markers */
	bool pending;	   /* there are markers below the logical size */
	struct timespec mtime; /* opening, or when a change was last noticed */
	uint64_t reserved[8];
};

/* What is known now. O(1), no I/O but a look at the device's size, and one for
 * changes before it says that there are no blocks. */
void bsp_sparse_stat(struct bsp_sparse *sp, struct bsp_stat *ret_stat);

/*
 * Reads [off, off + len), cut at the logical size, into buf. A known hole
 * costs no device I/O; granules that are read whole are learned. Returns the
 * count (0 at or past the end, less than len only at the end), or -EIO, or
 * another error of the device, if any byte of the range cannot be read:
 * never a part. -ENOMEM. buf is undefined after an error.
 */
ssize_t bsp_sparse_read(struct bsp_sparse *sp, uint64_t off, void *buf,
			size_t len);

/*
 * The first offset at or after off that lies in data; unknown granules on the
 * way are scanned. After the time budget, or when interrupted, *ret_off may
 * be a boundary: granule-aligned, after off, and called data from then on
 * although nobody has looked. Returns 0, or -ENXIO if no data follows or off
 * is at or past the end, or -ENOMEM. A granule that cannot be read is data.
 */
int bsp_sparse_seek_data(struct bsp_sparse *sp, uint64_t off,
			 bsp_interrupted_fn interrupted, void *data,
			 uint64_t *ret_off);

/*
 * off if it lies in a hole, otherwise the start of the next hole, or the
 * logical size. After the look-ahead, the time budget, or when interrupted,
 * *ret_off may be a boundary: granule-aligned, after off, with no hole between
 * them, and no claim about what follows. Returns 0, or -ENXIO if off is at or
 * past the end, or -ENOMEM.
 */
int bsp_sparse_seek_hole(struct bsp_sparse *sp, uint64_t off,
			 bsp_interrupted_fn interrupted, void *data,
			 uint64_t *ret_off);

/* --- Writing --- */

/*
 * Everything here needs a device opened writable and gives -EROFS otherwise.
 * Zeros cost no device I/O when they are written: whole granules of them
 * become markers, which read as zeros and are carried out later.
 */

/*
 * Writes [off, off + len). Returns the count: less than len only where the
 * device ends, or if part of it was written before an error. -ENOSPC if off is
 * at or past the device's end, -EIO or another error of the device, -ENOMEM.
 * Past the logical size the file grows, and a gap reads as zeros.
 */
ssize_t bsp_sparse_write(struct bsp_sparse *sp, uint64_t off, const void *buf,
			 size_t len);

/*
 * The logical size becomes size. What is cut off is gone: it reads as zeros
 * if the file grows again. -EFBIG past the device's end, -EIO, -ENOMEM.
 */
int bsp_sparse_truncate(struct bsp_sparse *sp, uint64_t size);

/*
 * fallocate(2), with mode as there: 0 and FALLOC_FL_KEEP_SIZE succeed inside
 * the device (-ENOSPC beyond), 0 making the file as long as off + len at
 * least; FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, and FALLOC_FL_ZERO_RANGE
 * with or without FALLOC_FL_KEEP_SIZE, make [off, off + len) read as zeros.
 * Other modes are -EOPNOTSUPP; len 0 is -EINVAL.
 */
int bsp_sparse_fallocate(struct bsp_sparse *sp, int mode, uint64_t off,
			 uint64_t len);

/*
 * Carries out the markers below the logical size: zeroes the device there. A
 * marker whose zeroing fails stays one, and the others are still tried.
 * Returns 0, the first error, or -EINTR when interrupted.
 */
int bsp_sparse_flush_markers(struct bsp_sparse *sp,
			     bsp_interrupted_fn interrupted, void *data);

/*
 * Carries out markers, then makes all that was written durable. Returns as
 * bsp_sparse_flush_markers().
 */
int bsp_sparse_flush(struct bsp_sparse *sp, bsp_interrupted_fn interrupted,
		     void *data);

/*
 * How many flushes have failed since bsp_sparse_new(). Each may have lost data
 * of any writer, but only one caller of bsp_sparse_flush() gets its error: the
 * others compare this with its value of before. Any thread.
 */
unsigned bsp_sparse_failed_flushes(struct bsp_sparse *sp);

/* What becomes of the device past the end of a file that is shorter. */
enum bsp_tail {
	BSP_TAIL_KEEP,	  /* it stays as it is */
	BSP_TAIL_ZERO,	  /* it is zeroed */
	BSP_TAIL_DISCARD, /* it is discarded; what it holds then is open */
};

/* Finds a tail by its name: keep, zero, discard. */
bool bsp_tail_from_name(const char *name, enum bsp_tail *ret_tail,
			GError **error);

/*
 * The end of writing: bsp_sparse_flush(), and the tail is treated. To be
 * called when nobody else uses the object any more. Returns 0 or -errno.
 */
int bsp_sparse_finish(struct bsp_sparse *sp, enum bsp_tail tail);

/* --- Scanning --- */

/*
 * Looks at every unknown granule that [off, off + len) touches, cut at the
 * logical size. Unreadable granules are data. progress (may be NULL) gets
 * bytes of that range. Returns 0, -ECANCELED when interrupted (what was
 * learned stays), or -ENOMEM.
 */
int bsp_sparse_scan(struct bsp_sparse *sp, uint64_t off, uint64_t len,
		    bsp_interrupted_fn interrupted, bsp_progress_fn progress,
		    void *data);

/*
 * True if what is at the two paths are different things, so that one may be
 * copied to the other; false and an error if they are one device or file, if
 * one is a part of the other, or one an image of the other. What cannot be
 * looked at counts as different: opening it will say why.
 */
bool bsp_check_not_same_device(const char *from, const char *to,
			       GError **error);

/* The same of two devices that are open, wherever their paths lead by now. */
bool bsp_device_check_not_same(const struct bsp_device *from,
			       const struct bsp_device *to, GError **error);

/* --- Extents --- */

enum bsp_extent_type {
	BSP_EXTENT_DATA,
	BSP_EXTENT_HOLE,    /* reads as zeros */
	BSP_EXTENT_UNKNOWN, /* not scanned yet */
};

struct bsp_extent {
	uint64_t off;
	uint64_t len;
	enum bsp_extent_type type;
};

/*
 * Gives the extent of the map that starts at off; needs no I/O. Walking from 0
 * by ret_extent->len visits all of the object. Neighbours may have the same
 * type. Returns 1, or 0 with *ret_extent untouched if off is at or past the
 * end.
 */
int bsp_sparse_extent(struct bsp_sparse *sp, uint64_t off,
		      struct bsp_extent *ret_extent);

/*
 * The same for the regular file that is open as fd. It asks lseek(2) with
 * SEEK_DATA and SEEK_HOLE, which moves the file offset of fd, and merges
 * neighbours for up to a second. It may wait for the file system. A file system
 * without holes gives one extent of data. Returns 1, 0, or -errno.
 */
int bsp_file_extent(int fd, uint64_t off, struct bsp_extent *ret_extent);

/* A function like these two over a source of any kind. */
typedef int (*bsp_extent_fn)(void *data, uint64_t off,
			     struct bsp_extent *ret_extent);

/* Where a report gets its extents from: a function and its argument. */
struct bsp_extent_source {
	bsp_extent_fn extent;
	void *data;
};

/* The sources of bsp_sparse_extent() and bsp_file_extent(). sp, or fd, must
 * stay open while the source is used. */
struct bsp_extent_source bsp_sparse_extent_source(struct bsp_sparse *sp);
struct bsp_extent_source bsp_file_extent_source(int fd);

/* --- Reports of extents --- */

enum bsp_format {
	BSP_FORMAT_TABLE,    /* for people; free to change */
	BSP_FORMAT_JSON,     /* blksparse-map(1) documents it */
	BSP_FORMAT_QEMU,     /* as qemu-img map --output=json */
	BSP_FORMAT_BMAP,     /* for bmaptool copy --bmap */
	BSP_FORMAT_DDRESCUE, /* a domain mapfile: data '+', holes '?' */
};

/* Finds a format by its name in lower case. */
bool bsp_format_from_name(const char *name, enum bsp_format *ret_format,
			  GError **error);

struct bsp_report {
	const char *path; /* what the report is about */
	uint64_t size;	  /* bytes */
	uint32_t granule; /* bytes, a power of two: data is rounded out to
			     multiples of it, but for the end; 0 for as
			     the source says it (bmap: 4096) */
	bool summary;	  /* totals instead of the extents, where the
			     format has room for it (table, json) */
	struct bsp_extent_source source;
	uint64_t reserved[8];
};

/* Takes the report's bytes in order; returns 0 or -errno, which ends it. */
typedef int (*bsp_write_fn)(void *data, const void *buf, size_t len);

/*
 * Writes report in a format; neighbours of one type are merged, and what is
 * unknown is data where a format knows no such thing. Returns 0, or the -errno
 * of either callback; -ENODATA if the source ended before size, -EPROTO if its
 * extents do not follow each other; -EINVAL for a summary in a format that has
 * none, a bmap of nothing (size 0), or a granule that cannot be.
 */
int bsp_report_write(const struct bsp_report *report, enum bsp_format format,
		     bsp_write_fn write, void *data);

/* --- Streams --- */

/* blksparse-stream(5) describes them. */
enum bsp_stream_format {
	BSP_STREAM_FORMAT_NATIVE,   /* with checksums, can be gone on with */
	BSP_STREAM_FORMAT_RBD_DIFF, /* of rbd export-diff, version 1 */
	BSP_STREAM_FORMAT_RAW,	    /* plain bytes, zeros and all */
};

/* Finds a format by its name: native, rbd-diff, raw. */
bool bsp_stream_format_from_name(const char *name,
				 enum bsp_stream_format *ret_format,
				 GError **error);

/* Each function ignores the fields of the others. */
struct bsp_transfer_options {
	bsp_interrupted_fn interrupted;
	bsp_progress_fn progress;
	void *data; /* argument of both */

	/* bsp_send(), bsp_recv(), bsp_recv_into(): the format of the stream. */
	enum bsp_stream_format format;

	/* bsp_send(): leave out all before this offset, rounded down to a
	 * granule. Native streams only. */
	uint64_t from;

	/* bsp_recv(), bsp_recv_into(): accept a stream that starts at an
	 * offset; [0, start) of the target is good. Native streams only. */
	bool resume;

	/* bsp_copy(), bsp_recv(): the target reads as zeros all over, so that
	 * holes cost nothing. Not with resume. */
	bool target_is_zero;

	/* bsp_recv(): how holes get to a device. The other functions write to
	 * an object, which has its own. */
	enum bsp_zero_mode zero_mode;

	/* bsp_copy(): read source and target again, and compare. */
	bool verify;

	/* bsp_copy(): how many reads, and how many writes, run at once, at most
	 * 64. Default 8. */
	unsigned jobs;
	uint64_t reserved[8];
};

/*
 * Four functions transfer content: from an object to another, from an object to
 * a stream, and from a stream to a path or an object. All follow one contract:
 *
 * - They return true when all of the content is there; a target is durable
 *   then. Otherwise they return false and an error: BSP_ERROR_USAGE for options
 *   that do not go together, BSP_ERROR_TOO_SMALL if the content does not fit,
 *   BSP_ERROR_INTERRUPTED, BSP_ERROR_DIFFERS, or BSP_ERROR_FAILED.
 * - *ret_progress, unless NULL, is set in both cases: how far it came, and
 *   where it failed. options->progress gets the same during the call.
 * - options may be NULL.
 * - options->interrupted ends them early. The content of the target is
 *   incomplete then, as after any error.
 */

/*
 * Makes the content of to, which must be writable, the content of from, byte
 * for byte; the device keeps its bytes past that size. Each byte of from is
 * read once; known holes are not read. Zeros are not written: they become
 * markers, and get to the device as to's own zero_mode tells.
 *
 * After an error no part of to is certain, but for BSP_ERROR_TOO_SMALL and
 * BSP_ERROR_USAGE: to is unchanged then. If the error came in
 * BSP_PHASE_VERIFY, all was copied and is durable.
 */
bool bsp_copy(struct bsp_sparse *from, struct bsp_sparse *to,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error);

/*
 * Writes the content of sp as a stream to the descriptor to. Each byte of the
 * device is read at most once; known holes are not read. It takes a few MiB of
 * memory whatever the size. The size is that of the beginning. If other
 * programs write to the device meanwhile, each granule is from some moment
 * during the call.
 *
 * After an error, bsp_send() with from set to the done of bsp_recv() goes on.
 * Writing to a pipe that has lost its reader is an error only in a program that
 * ignores SIGPIPE.
 */
bool bsp_send(struct bsp_sparse *sp, int to,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error);

/*
 * Reads a stream from the descriptor from, up to its end, into the block device
 * or regular file at path, which it opens as bsp_device_open_writable() does. A
 * missing file is created; a file is emptied, and gets the size of the stream.
 * A device must be as large as the stream, and keeps its bytes past that size.
 * It takes about 1 MiB of memory whatever the size.
 *
 * After an error, the part that came and was whole is durable: see
 * ret_progress->done. bsp_send() from there and bsp_recv() with resume go on.
 */
bool bsp_recv(int from, const char *path,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error);

/*
 * The same into an object, which other threads may use. An object that is
 * shorter than the stream grows; a longer one keeps its bytes past the stream.
 * Holes are markers until the end of the stream.
 */
bool bsp_recv_into(int from, struct bsp_sparse *sp,
		   const struct bsp_transfer_options *options,
		   struct bsp_progress *ret_progress, GError **error);

G_END_DECLS

#endif
