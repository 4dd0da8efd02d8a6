/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libblksparse: a block device as a sparse file.
 *
 * A block device has no holes: the kernel does not know which of its blocks are
 * zero, and lseek(2) with SEEK_DATA does not help. This library finds the zeros
 * by reading each part of a device once, and keeps the result in a map in
 * memory. A program can then seek for data and holes, read, write, copy the
 * device, or send it as a stream without its zeros. libblksparse(3) has an
 * overview and two complete programs.
 *
 *	g_autoptr(GError) error = NULL;
 *	g_autoptr(bsp_sparse) sp = bsp_sparse_new(
 *		bsp_device_open("/dev/sdb", &error), NULL, &error);
 *	uint64_t data, hole = 0;
 *
 *	if (!sp)
 *		return fail(error->message);
 *	while (bsp_sparse_seek_data(sp, hole, NULL, NULL, &data) == 0 &&
 *	       bsp_sparse_seek_hole(sp, data, NULL, NULL, &hole) == 0)
 *		handle_data(data, hole - data);
 *
 * Map. The device is divided into granules of a fixed size, 4096 bytes by
 * default. Each granule is data, a hole (its bytes are zero), or unknown (not
 * read yet). A seek, a scan or a read that reads a whole unknown granule learns
 * its state. On a writable object a granule may also be a marker: the program
 * wrote zeros there, reads return zeros, and the device gets them later, at the
 * latest at a flush. To a caller a marker is a hole.
 *
 * Units. Offsets and lengths are in bytes. A range is given as an offset and a
 * length, off and len, and means [off, off + len).
 *
 * Errors. A function reports errors in one of two ways, never both:
 * - Functions that set something up, and transfers (bsp_copy(), bsp_send(),
 *   bsp_digest(), bsp_recv(), bsp_recv_into(), bsp_diff()) return NULL or false
 *   and a GError in the domain BSP_ERROR. Its message is complete, and names
 *   the object. As everywhere in GLib, error may be NULL, and is set only on
 *   failure.
 * - Functions that do I/O on an open object return 0 or a count, or a negative
 *   errno.
 * A result parameter (ret_...) is set only on success, unless the function says
 * otherwise.
 *
 * Threads. All functions that take a struct bsp_sparse may be called from
 * several threads at once, but bsp_sparse_free() must be the last call on the
 * object. Functions that take neither a device nor an object may be called from
 * any thread. The library starts threads only in bsp_copy(), bsp_diff(),
 * bsp_digest() and the functions that send and receive, and ends them before
 * these return. It installs no signal handler, and prints nothing, unless
 * BLKSPARSE_TRACE=1 is in the environment: then it writes one line an operation
 * to standard error (blksparse(1)).
 *
 * Growth. Structures that a later version may extend end in reserved fields,
 * from which it takes new ones. Set structures that the library reads to zero
 * before setting fields, as C and C++ do for the fields that an initializer
 * does not name: zero always stands for the default, and an older library
 * refuses a field that it does not know (BSP_ERROR_USAGE or -EINVAL). The
 * library sets the reserved fields of structures that it fills in to zero.
 * Enumerations may get new values at their end.
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

#if defined(__GNUC__)
#define BSP_NONNULL(...) __attribute__((nonnull(__VA_ARGS__)))
#else
#define BSP_NONNULL(...)
#endif

/* --- Version --- */

/* The version of this header. */
#define BSP_VERSION_MAJOR 0
#define BSP_VERSION_MINOR 1
#define BSP_VERSION_MICRO 0

/* A version as one number, for comparing. Each part is below 1000. */
#define BSP_VERSION_NUMBER(major, minor, micro)                                \
	(1000000u * (major) + 1000u * (minor) + (micro))

/* Whether this header is of that version or a later one. For #if. */
#define BSP_CHECK_VERSION(major, minor, micro)                                 \
	(BSP_VERSION_NUMBER(BSP_VERSION_MAJOR, BSP_VERSION_MINOR,              \
			    BSP_VERSION_MICRO) >=                              \
	 BSP_VERSION_NUMBER(major, minor, micro))

/* The version of the library that the program runs with, as
 * BSP_VERSION_NUMBER() gives it. */
unsigned bsp_version(void);

/* --- Errors for people --- */

#define BSP_ERROR (bsp_error_quark())

/* Take a code that is not listed here as BSP_ERROR_FAILED. */
enum bsp_error {
	BSP_ERROR_FAILED,      /* a system call, a device or a stream failed */
	BSP_ERROR_USAGE,       /* the call asks for something impossible */
	BSP_ERROR_INTERRUPTED, /* the caller's bsp_interrupted_fn said so */
	BSP_ERROR_TOO_SMALL,   /* the target is too small for the content */
	BSP_ERROR_DIFFERS,     /* the target was compared, and differs */
};

GQuark bsp_error_quark(void);

/* --- Callbacks --- */

/*
 * Called often in a call that may take long. Returns true to have that call end
 * early. It runs in the thread that made the call, must be quick, and must not
 * call a function on the same object. A NULL in its place never interrupts.
 */
typedef bool (*bsp_interrupted_fn)(void *data);

/* The phases of a transfer. */
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
	uint64_t data;	/* bytes transferred that were data */
	uint64_t hole;	/* bytes transferred that were zero */
	uint64_t moved; /* bytes of the stream, or of the digest file, that were
			   read or written */
	/* Of a copy with the option changed: */
	uint64_t compared; /* bytes that were read from the target */
	uint64_t written;  /* bytes that were written, because they differed */
	uint64_t zeroed;   /* bytes that were zeroed, because they were not */
	/* Of an increment: */
	uint64_t same;	/* bytes that are as in the base */
	bool increment; /* the stream is one */
	uint64_t reserved[3];
};

/* Called often with the progress of a call, in the thread that made the call.
 * NULL in its place: not called. */
typedef void (*bsp_progress_fn)(void *data,
				const struct bsp_progress *progress);

/* --- Sizes as people write them --- */

/*
 * Parses a size: a decimal number of bytes, or one with a unit: K, M, G, T, P
 * (also Ki, KiB, KB; all are powers of 1024, in either case). The message of an
 * error names what is wrong with the text, but not the option it came from.
 */
bool bsp_parse_size(const char *text, uint64_t *ret_size, GError **error)
	BSP_NONNULL(1, 2);

/* --- Devices --- */

/*
 * A device is named by its path, or, if the library was built with libnbd, by
 * the URI of an export of an NBD server: nbd://host/export, nbds:// (TLS),
 * nbd+unix:///export?socket=path, nbds+unix:// or nbd+vsock://, as
 * nbd_connect_uri(3) takes them.
 */

/* Whether text begins like such a URI. */
bool bsp_is_nbd_uri(const char *text) BSP_NONNULL(1);

/* An open block device or NBD export, or an open image file used as one. */
struct bsp_device;
typedef struct bsp_device bsp_device; /* for g_autoptr() */

/* Properties of a device, as of opening. */
struct bsp_device_info {
	uint64_t size;		     /* bytes */
	uint32_t logical_block_size; /* bytes; 512 for an image file */
	bool is_block;		     /* a block device, not a file or export */
	bool writable;		     /* opened for writing */
	uid_t uid;		     /* owner of the device node or image */
	gid_t gid;
	mode_t mode;	       /* permission bits only */
	struct timespec mtime; /* of an image; of a device, its opening */
	uint64_t reserved[4];
};

/*
 * Opens the block device, NBD export or regular file at path for reading. Other
 * programs may have it open. Returns NULL and an error if path cannot be
 * opened, is neither of these, or is empty.
 */
struct bsp_device *bsp_device_open(const char *path, GError **error)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Opens an NBD export for reading, and asks its server for a bitmap of changes,
 * for bsp_changes_of_server(). changes is the name of the bitmap as a metadata
 * context of NBD, such as "qemu:dirty-bitmap:NAME". Opening succeeds also if
 * the server does not have it.
 */
struct bsp_device *bsp_device_open_nbd(const char *uri, const char *changes,
				       GError **error)
	BSP_NONNULL(1, 2) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Opens the block device or regular file at path for reading and writing, for
 * this program alone. It refuses a block device that is mounted, used as swap,
 * part of another device, or opened like this by another program; an image file
 * that another program has locked; and anything read-only. The message names
 * the holder. An NBD export cannot be had alone: the caller has to know that no
 * other program writes to it.
 */
struct bsp_device *bsp_device_open_writable(const char *path, GError **error)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Opens the regular file at path as bsp_device_open_writable() does, creates it
 * if it is missing, and makes it a single hole of size bytes: its old content
 * is lost. It changes nothing if another program has the file locked, if
 * something else than a regular file is at path, or if size is 0. If from is
 * not NULL, the caller is going to copy that device to the file: a file that
 * holds any part of it is refused, too. The first flush makes the name of the
 * file durable as well.
 */
struct bsp_device *bsp_device_create_image(const char *path, uint64_t size,
					   const struct bsp_device *from,
					   GError **error)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/* Does the same, but a file that is there keeps its content as far as size. */
struct bsp_device *bsp_device_open_image(const char *path, uint64_t size,
					 const struct bsp_device *from,
					 GError **error)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/* Closes dev, which may be NULL. bsp_sparse_new() takes a device over: do not
 * close it after that. */
void bsp_device_close(struct bsp_device *dev);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(bsp_device, bsp_device_close)

/* The path or URI that dev was opened by, without a password; valid until dev
 * is closed. */
const char *bsp_device_path(const struct bsp_device *dev) BSP_NONNULL(1);

void bsp_device_get_info(const struct bsp_device *dev,
			 struct bsp_device_info *ret_info) BSP_NONNULL(1, 2);

/*
 * Checks that one of two paths may be copied to the other. Returns false and an
 * error (BSP_ERROR_USAGE) if both are the same device or file, if one is part
 * of the other, or if one is an image that the other shows. A path that cannot
 * be examined passes: opening it will give the reason.
 */
bool bsp_check_not_same_device(const char *from, const char *to, GError **error)
	BSP_NONNULL(1, 2);

/* The same for two open devices, wherever their paths lead by now. */
bool bsp_device_check_not_same(const struct bsp_device *from,
			       const struct bsp_device *to, GError **error)
	BSP_NONNULL(1, 2);

/* --- Sparse objects --- */

/* A device, and a map of its data and holes. */
struct bsp_sparse;
typedef struct bsp_sparse bsp_sparse; /* for g_autoptr() */

enum {
	BSP_GRANULE_MIN = 4096,
	BSP_GRANULE_MAX = 1 << 20,
	BSP_GRANULE_DEFAULT = 4096,
};

#define BSP_LOOKAHEAD_DEFAULT ((uint64_t)32 << 20)

/* How zeros get to the device. */
enum bsp_zero_mode {
	BSP_ZERO_UNMAP, /* free the blocks, where freed blocks read as zeros */
	BSP_ZERO_KEEP,	/* keep blocks allocated; let the device zero them,
			   where it can */
	BSP_ZERO_WRITE, /* write zeros */
};

/*
 * Which layers below a device are asked for holes, which then need not be read:
 * thin volumes of the device mapper, and the file below a loop device or of an
 * image. blksparsefs(8), "KNOWN HOLES", lists them.
 */
enum bsp_known_trust {
	BSP_KNOWN_AUTO, /* those whose answers were right in tests */
	BSP_KNOWN_ALL,	/* all that answer */
	BSP_KNOWN_OFF,	/* none: everything is read */
};

/* Finds one by its name: auto, all, off. */
bool bsp_known_from_name(const char *name, enum bsp_known_trust *ret_known,
			 GError **error) BSP_NONNULL(1, 2);

struct bsp_sparse_options {
	/*
	 * Size of a granule, bytes: a power of two from BSP_GRANULE_MIN to
	 * BSP_GRANULE_MAX, and no smaller than the device's logical block.
	 * Default: BSP_GRANULE_DEFAULT, or a logical block if that is larger.
	 */
	uint64_t granule;
	/*
	 * How far bsp_sparse_seek_hole() scans before it answers with a
	 * boundary, bytes; at least a granule. Default BSP_LOOKAHEAD_DEFAULT.
	 */
	uint64_t lookahead;
	/* How long a seek scans before it answers with a boundary,
	 * milliseconds. Default 1000. */
	uint32_t budget_ms;
	/* How zeros get to a writable device. Default BSP_ZERO_UNMAP. */
	enum bsp_zero_mode zero_mode;
	/*
	 * The shortest hole that seeks report, bytes; at most 16 MiB. Shorter
	 * holes are data to seeks, and to nothing else. A hole costs a program
	 * two more seeks, which can take longer than reading a few zeros.
	 * Default: seeks report all holes.
	 */
	uint64_t minhole;
	/* The layers that are asked for holes. Default BSP_KNOWN_AUTO. */
	enum bsp_known_trust known;
	/*
	 * No other program writes to the device. This matters only for a kind
	 * of which other writers cannot be seen: an NBD export that its server
	 * allows to be written. Default: each check for outside changes
	 * forgets the map of such an export.
	 */
	bool unshared;
	/*
	 * Compare each write with the bytes that the device holds, and leave it
	 * out if they are the same. The device is read for that, past the page
	 * cache. After a failed flush all writes are made.
	 */
	bool skip_same;
	uint64_t reserved[8];
};

/*
 * Makes an object of dev, and takes dev over in any case: the object closes it,
 * or this function, if it fails. If dev is NULL, it returns NULL and leaves
 * *error as it is, so that the call that opens the device can be its argument.
 * options may be NULL. It reads nothing yet. Fails if an option does not fit
 * the device (BSP_ERROR_USAGE), or without memory.
 */
struct bsp_sparse *bsp_sparse_new(struct bsp_device *dev,
				  const struct bsp_sparse_options *options,
				  GError **error) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Ends the object, which may be NULL, and closes its device. It does not flush:
 * markers, and data that no flush made durable, may be lost. No other call on
 * the object may be running.
 */
void bsp_sparse_free(struct bsp_sparse *sp);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(bsp_sparse, bsp_sparse_free)

/* The logical size, bytes: the device's, until the program changes it. */
uint64_t bsp_sparse_size(struct bsp_sparse *sp) BSP_NONNULL(1);

/* The size of a granule, bytes. */
uint32_t bsp_sparse_granule(const struct bsp_sparse *sp) BSP_NONNULL(1);

/* The device's properties, as bsp_device_get_info() gives them. */
void bsp_sparse_get_info(const struct bsp_sparse *sp,
			 struct bsp_device_info *ret_info) BSP_NONNULL(1, 2);

struct bsp_stat {
	uint64_t size;	   /* logical size, bytes */
	uint64_t capacity; /* size of the device: how far size can grow */
	uint64_t blocks;   /* for st_blocks of stat(2): 512-byte units of data
			      and unknown. While anything is unknown it is
			      less than size / 512 but not 0; then exact */
	uint64_t unknown;  /* bytes in unknown granules */
	uint64_t data;	   /* bytes in data granules */
	uint64_t hole;	   /* bytes in holes and markers */
	bool pending;	   /* there are markers below the logical size */
	struct timespec mtime; /* when the device was opened, or a change of
				  it was last noticed */
	uint64_t reserved[8];
};

/*
 * Gives the present state of the map. It costs no I/O on the content: it asks
 * the kernel for the device's size, and, before it reports no blocks, whether
 * another program wrote to the device.
 */
void bsp_sparse_stat(struct bsp_sparse *sp, struct bsp_stat *ret_stat)
	BSP_NONNULL(1, 2);

/*
 * A layer below the device that was asked for holes, or a device or a file of
 * which nothing is known.
 */
struct bsp_known_layer {
	/* For people, in UTF-8: the names from the device down, such as
	 * "loop1 → disk.img (ext4)". */
	const char *name;
	/* Why nothing is known of it, such as "known=off"; NULL if it was
	 * asked. */
	const char *reason;
	/* Bytes that it knew to be zeros, and that were not read therefore;
	 * since the map was last forgotten. */
	uint64_t zeros;
	uint64_t reserved[5];
};

/* Receives a layer, which is valid during the call. */
typedef void (*bsp_known_fn)(void *data, const struct bsp_known_layer *layer);

/* The bytes of content that the object has read from the device so far. */
uint64_t bsp_sparse_bytes_read(struct bsp_sparse *sp) BSP_NONNULL(1);

/*
 * Calls known() for each layer below the device. Layers are asked when unknown
 * granules are searched: call it after that. It looks for the reasons now, and
 * may wait for a file system as long as a question does.
 */
void bsp_sparse_known(struct bsp_sparse *sp, bsp_known_fn known, void *data)
	BSP_NONNULL(1, 2);

/* --- Reading and seeking --- */

/*
 * Reads [off, off + len), cut at the logical size, into buf. A known hole costs
 * no device I/O. Returns the number of bytes: less than len only at the end, 0
 * at or past it. If any byte cannot be read, it returns -EIO or another error
 * of the device, or -ENOMEM; the content of buf is undefined then.
 */
ssize_t bsp_sparse_read(struct bsp_sparse *sp, uint64_t off, void *buf,
			size_t len) BSP_NONNULL(1, 3) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Finds the first offset at or after off that lies in data, and scans unknown
 * granules on the way. A granule that cannot be read counts as data. When the
 * time budget is used up, or interrupted() returns true, *ret_off may be a
 * boundary instead: a multiple of the granule after off, where the search
 * ended. The granule there is unknown, but seeks treat it as data from then on.
 * Returns 0; -ENXIO if no data follows, or off is at or past the end; or
 * -ENOMEM.
 */
int bsp_sparse_seek_data(struct bsp_sparse *sp, uint64_t off,
			 bsp_interrupted_fn interrupted, void *data,
			 uint64_t *ret_off)
	BSP_NONNULL(1, 5) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Finds the first offset at or after off that lies in a hole, or the logical
 * size if data goes on to the end. After the look-ahead or the time budget, or
 * when interrupted() returns true, *ret_off may be a boundary instead: a
 * multiple of the granule after off, with no hole before it. It makes no claim
 * about what follows. Returns 0; -ENXIO if off is at or past the end; or
 * -ENOMEM.
 */
int bsp_sparse_seek_hole(struct bsp_sparse *sp, uint64_t off,
			 bsp_interrupted_fn interrupted, void *data,
			 uint64_t *ret_off)
	BSP_NONNULL(1, 5) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Scans every unknown granule that [off, off + len) touches, cut at the logical
 * size. Granules that cannot be read become data. Returns 0; -ECANCELED when
 * interrupted() returned true: the map keeps what it learned; -ENOTCONN if the
 * connection to an NBD server was lost; or -ENOMEM.
 */
int bsp_sparse_scan(struct bsp_sparse *sp, uint64_t off, uint64_t len,
		    bsp_interrupted_fn interrupted, bsp_progress_fn progress,
		    void *data) BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/* --- Writes of other programs --- */

/*
 * Another program may write to the device. The library notices that from the
 * kernel's counters (blksparsefs(8), OTHER WRITERS, lists their limits),
 * forgets what it learned before, and reports the change:
 */
enum bsp_change {
	BSP_CHANGE_CONTENT,	/* another program wrote to the device */
	BSP_CHANGE_SIZE,	/* the device grew or shrank */
	BSP_CHANGE_UNWATCHABLE, /* the kernel does not count writes to this
				   device: it may have changed. Reported at
				   every look */
	BSP_CHANGE_MEDIUM,	/* the device has another medium, file or table;
				   all of it may have changed */
	BSP_CHANGE_GONE,	/* as BSP_CHANGE_MEDIUM, but the object was
				   writable: every call on it fails with -ENODEV
				   from now on */
	BSP_CHANGE_FALSE_ZEROS, /* a layer below said that bytes are zero, and
				   they are not: no layer is asked any more
				   (bsp_sparse_false_zeros()) */
	BSP_CHANGE_DISCONNECTED, /* the connection to the device's server was
				  * lost */
	BSP_CHANGE_CONNECTED, /* it is there again; all of the device may have
				 changed */
};

/*
 * Receives a change. Content that the caller has cached is out of date. It may
 * be called by any thread that is in a call on the object, by several at once,
 * and must not call a function on the object.
 */
typedef void (*bsp_changed_fn)(void *data, enum bsp_change change);

/* Sets the function that receives changes. Call it before other threads use the
 * object. */
void bsp_sparse_set_changed(struct bsp_sparse *sp, bsp_changed_fn changed,
			    void *data) BSP_NONNULL(1);

/*
 * Looks whether the device changed since the last look. Seeks, and reads of
 * holes, look by themselves; a program that caches content calls this now and
 * then. Returns a number that is different after each change.
 */
uint64_t bsp_sparse_refresh(struct bsp_sparse *sp) BSP_NONNULL(1);

/*
 * After BSP_CHANGE_FALSE_ZEROS: returns a sentence for people, without a full
 * stop, that names the layer, the device and the byte. Free it with g_free().
 * Returns NULL if no layer was found to err.
 */
char *bsp_sparse_false_zeros(struct bsp_sparse *sp)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/* --- Writing --- */

/*
 * All of these need a device that was opened writable, and return -EROFS
 * otherwise. Writing whole granules of zeros costs no device I/O: they become
 * markers.
 */

/*
 * Writes [off, off + len). Past the logical size the object grows, and a gap
 * reads as zeros. Returns the number of bytes: less than len only at the end of
 * the device, or if an error came after part of them. Otherwise -ENOSPC if off
 * is at or past the end of the device, -EIO or another error of the device, or
 * -ENOMEM.
 */
ssize_t bsp_sparse_write(struct bsp_sparse *sp, uint64_t off, const void *buf,
			 size_t len)
	BSP_NONNULL(1, 3) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Sets the logical size. Bytes that are cut off are lost: they read as zeros if
 * the object grows again. Returns 0; -EFBIG past the end of the device; -EIO;
 * or -ENOMEM.
 */
int bsp_sparse_truncate(struct bsp_sparse *sp, uint64_t size)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/*
 * As fallocate(2), with its modes:
 * - 0 and FALLOC_FL_KEEP_SIZE succeed inside the device, and return -ENOSPC
 *   beyond it; 0 also grows the object to off + len.
 * - FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, and FALLOC_FL_ZERO_RANGE with
 * or without FALLOC_FL_KEEP_SIZE, make [off, off + len) read as zeros. Other
 * modes return -EOPNOTSUPP; a len of 0 returns -EINVAL.
 */
int bsp_sparse_fallocate(struct bsp_sparse *sp, int mode, uint64_t off,
			 uint64_t len) BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Zeroes the device at all markers below the logical size. A marker that fails
 * stays one, and the others are still tried. Returns 0, the first error, or
 * -EINTR when interrupted() returned true.
 */
int bsp_sparse_flush_markers(struct bsp_sparse *sp,
			     bsp_interrupted_fn interrupted, void *data)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/* Does bsp_sparse_flush_markers(), then makes all writes durable. Returns the
 * same. */
int bsp_sparse_flush(struct bsp_sparse *sp, bsp_interrupted_fn interrupted,
		     void *data) BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/*
 * The number of flushes that have failed. Each of them may have lost data of
 * any writer, but only one caller of bsp_sparse_flush() gets its error. Other
 * writers compare this number with its value before their first write.
 */
unsigned bsp_sparse_failed_flushes(struct bsp_sparse *sp) BSP_NONNULL(1);

/* The ways to treat the device past the end of a shorter object. */
enum bsp_tail {
	BSP_TAIL_KEEP,	  /* it keeps its content */
	BSP_TAIL_ZERO,	  /* it is zeroed */
	BSP_TAIL_DISCARD, /* it is discarded; its content is undefined then */
};

/* Finds a tail by its name: keep, zero, discard. */
bool bsp_tail_from_name(const char *name, enum bsp_tail *ret_tail,
			GError **error) BSP_NONNULL(1, 2);

/* Ends writing: does bsp_sparse_flush(), and treats the tail. No other thread
 * may use the object any more. Returns 0 or -errno. */
int bsp_sparse_finish(struct bsp_sparse *sp, enum bsp_tail tail)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/* --- Extents --- */

enum bsp_extent_type {
	BSP_EXTENT_DATA,
	BSP_EXTENT_HOLE,    /* reads as zeros */
	BSP_EXTENT_UNKNOWN, /* not scanned yet */
};

/* [off, off + len). This structure does not grow. */
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
		      struct bsp_extent *ret_extent) BSP_NONNULL(1, 3);

/*
 * The same for the regular file that is open as fd. It asks lseek(2) with
 * SEEK_DATA and SEEK_HOLE, which moves the file offset of fd, and merges
 * neighbours for up to a second. It may wait for the file system. A file system
 * without holes gives one extent of data. Returns 1, 0, or -errno.
 */
int bsp_file_extent(int fd, uint64_t off, struct bsp_extent *ret_extent)
	BSP_NONNULL(3) G_GNUC_WARN_UNUSED_RESULT;

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
struct bsp_extent_source bsp_sparse_extent_source(struct bsp_sparse *sp)
	BSP_NONNULL(1);
struct bsp_extent_source bsp_file_extent_source(int fd);

/* --- Changes --- */

/*
 * The parts of a content that have changed, or that differ from another one:
 * whole granules of BSP_GRANULE_MIN bytes.
 */
struct bsp_changes;
typedef struct bsp_changes bsp_changes; /* for g_autoptr() */

/*
 * Reads the changes of sp from the descriptor fd, a list in JSON: that of "rbd
 * diff --format=json", the messages of the SnapshotMetadata service of
 * Kubernetes in an array, or a report of blksparse diff or blksparse map
 * (blksparse-send(1)). A list that is not in order, incomplete, or about
 * another size, is an error. name is that of the descriptor, for messages.
 */
struct bsp_changes *
bsp_changes_read(struct bsp_sparse *sp, int fd, const char *name,
		 bsp_interrupted_fn interrupted, void *data, GError **error)
	BSP_NONNULL(1, 3) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Reads the changes of sp that the server of its NBD export knows: those of the
 * bitmap that was named to bsp_device_open_nbd(). The export must be served
 * read-only, or the bitmap may change. The changes hold until the connection is
 * lost; a transfer that uses them fails then. sp must stay while they are used.
 */
struct bsp_changes *bsp_changes_of_server(struct bsp_sparse *sp,
					  bsp_interrupted_fn interrupted,
					  void *data, GError **error)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Finds the blocks in which sp, a thin volume, differs from the one at the path
 * old, of the same pool and size: by the metadata of the pool, without reading
 * either. Both have to be read-only, and to stay so: a transfer that uses the
 * changes fails if one was changed meanwhile. sp must stay while they are used.
 */
struct bsp_changes *bsp_changes_of_thin(struct bsp_sparse *sp, const char *old,
					bsp_interrupted_fn interrupted,
					void *data, GError **error)
	BSP_NONNULL(1, 2) G_GNUC_WARN_UNUSED_RESULT;

/* changes may be NULL. */
void bsp_changes_free(struct bsp_changes *changes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(bsp_changes, bsp_changes_free)

/* The size of the content, bytes. */
uint64_t bsp_changes_size(const struct bsp_changes *changes) BSP_NONNULL(1);

/* The bytes that have changed. */
uint64_t bsp_changes_bytes(const struct bsp_changes *changes) BSP_NONNULL(1);

/* A source of extents, in which all that has changed is BSP_EXTENT_DATA, and
 * the rest BSP_EXTENT_HOLE. changes must stay while the source is used. */
struct bsp_extent_source bsp_changes_extent_source(struct bsp_changes *changes)
	BSP_NONNULL(1);

/* --- Verifying holes --- */

/* A part of a hole that does not read as zeros. */
struct bsp_false_hole {
	uint64_t off;
	uint64_t len;
	int error; /* the -errno of reading it; 0: it holds other bytes */
	/* The layer that says that it is zeros, as in struct bsp_known_layer;
	 * NULL: it was read as zeros before. */
	const char *layer;
	uint64_t reserved[4];
};

/* Receives such a part, which is valid during the call. They come in order. */
typedef void (*bsp_false_hole_fn)(void *data,
				  const struct bsp_false_hole *hole);

/*
 * Reads the holes of source from the device, whatever the map knows, and calls
 * false_hole() for each part that does not read as zeros. source is that of the
 * object, or of another description of the same device. The object must be
 * read-only. progress->done counts bytes of holes. Returns 0 at the end, also
 * if holes are false; -ESTALE if bytes are not zero, but another program wrote
 * to the device, or may have: then they may be its bytes; -ECANCELED when
 * interrupted() returned true; the -errno of source; -EINVAL; or -ENOMEM.
 */
int bsp_sparse_verify(struct bsp_sparse *sp, struct bsp_extent_source source,
		      bsp_false_hole_fn false_hole,
		      bsp_interrupted_fn interrupted, bsp_progress_fn progress,
		      void *data) BSP_NONNULL(1, 3) G_GNUC_WARN_UNUSED_RESULT;

/* --- Reports of extents --- */

enum bsp_format {
	BSP_FORMAT_TABLE,    /* for people; may change */
	BSP_FORMAT_JSON,     /* see blksparse-map(1) */
	BSP_FORMAT_QEMU,     /* as qemu-img map --output=json */
	BSP_FORMAT_BMAP,     /* for bmaptool copy --bmap */
	BSP_FORMAT_DDRESCUE, /* a domain mapfile: data '+', holes '?' */
	BSP_FORMAT_PLOT,     /* a picture in text, for a terminal */
	BSP_FORMAT_SVG,	     /* a picture */
	BSP_FORMAT_PNG,	     /* the same picture; see below */
};

/* Finds a format by its name in lower case. png needs cairo, which is loaded
 * now; without it the format is an error (BSP_ERROR_FAILED). */
bool bsp_format_from_name(const char *name, enum bsp_format *ret_format,
			  GError **error) BSP_NONNULL(1, 2);

/* A part with a name, such as a partition: [off, off + len). */
struct bsp_mark {
	uint64_t off;
	uint64_t len;
	const char *name; /* short, such as a number */
	const char *text; /* what it holds; or NULL */
	uint64_t reserved[4];
};

/* How pictures are drawn. */
struct bsp_drawing {
	/* Parts to be shown, in order. One that overlaps the part before it, or
	 * the end, is cut. */
	const struct bsp_mark *marks;
	uint64_t n_marks;
	uint32_t columns; /* plot: of the terminal; 20 or more, 0: 80 */
	bool ascii;	  /* plot: no characters but those of ASCII */
	bool colour;	  /* plot: with the escape sequences of a terminal */
	uint64_t reserved[8];
};

struct bsp_report {
	const char *path; /* the name of the object in the report */
	uint64_t size;	  /* its size, bytes */
	/*
	 * Data is rounded out to multiples of this, bytes, a power of two,
	 * except at the end. 0: not rounded (a bmap: 4096).
	 */
	uint32_t granule;
	bool summary; /* totals instead of extents: table and json only */
	struct bsp_extent_source source;
	/* The layers below a device, and the bytes that were read from it: json
	 * only. Default: left out. */
	const struct bsp_known_layer *layers;
	uint64_t n_layers;
	uint64_t bytes_read;
	/*
	 * The name of another object: this is a report of the differences
	 * between the two. The source has data where they differ, and holes
	 * where they do not. A table and json leave the latter out.
	 */
	const char *other;
	/* Pictures only. Default: that of a structure of zeros. */
	const struct bsp_drawing *drawing;
	uint64_t reserved[3];
};

/* Receives the bytes of a report in order. Returns 0, or -errno to end it. */
typedef int (*bsp_write_fn)(void *data, const void *buf, size_t len);

/*
 * Writes a report. Neighbours of one type are merged; a format that has no word
 * for unknown extents gets data. Returns 0, or the -errno of one of the two
 * callbacks; -ENODATA if the source ended before size; -EPROTO if one extent
 * does not start where the one before it ended; -EINVAL for a summary in a
 * format that has none, a bmap of size 0, or a granule that is no power of two.
 */
int bsp_report_write(const struct bsp_report *report, enum bsp_format format,
		     bsp_write_fn write, void *data)
	BSP_NONNULL(1, 3) G_GNUC_WARN_UNUSED_RESULT;

/* --- Transfers --- */

/* Stream formats; see blksparse-stream(5). */
enum bsp_stream_format {
	BSP_STREAM_FORMAT_NATIVE,   /* has checksums; can be resumed */
	BSP_STREAM_FORMAT_RBD_DIFF, /* as rbd export-diff, version 1 */
	BSP_STREAM_FORMAT_RAW,	    /* the plain bytes, zeros included */
};

/* Finds a format by its name: native, rbd-diff, raw. */
bool bsp_stream_format_from_name(const char *name,
				 enum bsp_stream_format *ret_format,
				 GError **error) BSP_NONNULL(1, 2);

/* The part of a device that has one digest; see blksparse-digest(5). */
enum {
	BSP_CHUNK_MIN = 4096,
	BSP_CHUNK_MAX = 1 << 20,
	BSP_CHUNK_DEFAULT = 1 << 16,
};

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

	/* bsp_recv(): the layers below a device that are asked for holes, which
	 * then are not zeroed. The other functions use objects, which have
	 * their own. */
	enum bsp_known_trust known;

	/* bsp_copy(): read source and target again, and compare. */
	bool verify;

	/* bsp_copy(): read the target as well, and write only granules that
	 * differ. Without effect if target_is_zero. Must not be set if a flush
	 * of the target has failed since it was last written: it may return
	 * bytes that it has lost. */
	bool changed;

	/* bsp_copy(), bsp_diff(): how many reads, and how many writes, run at
	 * once, at most 64. Default 8. bsp_digest(), bsp_send() with digest:
	 * how many threads compute digests. Default: one for each processor, at
	 * most 8. */
	unsigned jobs;

	/* bsp_digest(), bsp_send(): gets the bytes of the digest file of the
	 * content in order (blksparse-digest(5)), with data as its argument.
	 * Its error ends the call. bsp_send(): not with from. */
	bsp_write_fn digest;

	/* The same: the size of a chunk, bytes: a power of two from
	 * BSP_CHUNK_MIN to BSP_CHUNK_MAX. Default BSP_CHUNK_DEFAULT, or, with
	 * since, that of its file. */
	uint32_t chunk;

	/* bsp_recv(): take an increment: read the target to prove that it is
	 * the base. With resume, its unchanged parts are proven one by one. */
	bool check_base;

	/* bsp_send(): the path of a digest file: send an increment, only the
	 * chunks that differ from it. Native streams, and rbd diffs with
	 * from_snap. */
	const char *since;

	/* bsp_send() with since: the name of the snapshot of the target image
	 * that holds the base, of at most 96 bytes. rbd diffs only, which need
	 * it. */
	const char *from_snap;

	/* bsp_recv(): take an increment if the digest file at this path has the
	 * identity of its base. It must be that of the target; it is removed
	 * before the target is changed. Not with resume. */
	const char *base;

	/* bsp_copy(), bsp_send(): read only these parts of the content; all
	 * else is as in the base. bsp_copy(): the target must be the base, and
	 * of the same size. It is not compared unless changed is set.
	 * bsp_send(): a native stream needs since, the digest file of the base,
	 * and reads whole chunks of it; an rbd diff needs from_snap. */
	const struct bsp_changes *changes;

	uint64_t reserved[2];
};

/*
 * Six functions transfer or compare content: from an object to another, from an
 * object to a stream or a digest file, from a stream to a path or an object,
 * and of two objects. All follow one contract:
 *
 * - They return true when all of the content is there; a target is durable
 *   then. Otherwise they return false, and bsp_diff() NULL, and an error:
 *   BSP_ERROR_USAGE for options
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
 * markers, and get to the device as to's own zero_mode tells. With changed, to
 * is read as well, but for its known zeros, and gets only what differs; after
 * an error or an interrupt, the same call goes on.
 *
 * After an error no part of to is certain, but for BSP_ERROR_TOO_SMALL and
 * BSP_ERROR_USAGE: to is unchanged then. If the error came in
 * BSP_PHASE_VERIFY, all was copied and is durable.
 */
bool bsp_copy(struct bsp_sparse *from, struct bsp_sparse *to,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error)
	BSP_NONNULL(1, 2) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Compares two objects, and returns the granules in which they differ. All past
 * the end of the shorter one differs; the size is that of the longer one. Each
 * byte of each is read once, but for known zeros of both. If the two are equal,
 * bsp_changes_bytes() is 0.
 *
 * progress->data counts bytes that differ, and progress->same the others.
 */
struct bsp_changes *bsp_diff(struct bsp_sparse *first,
			     struct bsp_sparse *second,
			     const struct bsp_transfer_options *options,
			     struct bsp_progress *ret_progress, GError **error)
	BSP_NONNULL(1, 2) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Writes the content of sp as a stream to the descriptor to. Each byte of the
 * device is read at most once; known holes are not read. Up to 16 reads are
 * under way, and take 4 MiB of memory whatever the size (with granules above
 * 256 KiB, 16 granules). The size is that of the beginning. If other
 * programs write to the device meanwhile, each granule is from some moment
 * during the call.
 *
 * After an error, bsp_send() with from set to the done of bsp_recv() goes on.
 * Writing to a pipe that has lost its reader is an error only in a program that
 * ignores SIGPIPE.
 */
bool bsp_send(struct bsp_sparse *sp, int to,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error)
	BSP_NONNULL(1) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Computes the digest file of the content of sp, and passes it to
 * options->digest(). Each byte of the device is read at most once; known holes
 * are not read. It takes a few MiB of memory whatever the size. Other programs
 * that write to the device meanwhile: as for bsp_send().
 */
bool bsp_digest(struct bsp_sparse *sp,
		const struct bsp_transfer_options *options,
		struct bsp_progress *ret_progress, GError **error)
	BSP_NONNULL(1, 2) G_GNUC_WARN_UNUSED_RESULT;

/*
 * Reads a stream from the descriptor from, up to its end, into the block device
 * or regular file at path, which it opens as bsp_device_open_writable() does. A
 * missing file is created; a file is emptied, and gets the size of the stream.
 * A device must be as large as the stream, and keeps its bytes past that size.
 * It writes up to 8 MiB of data at once, and zeroes the holes meanwhile. It
 * takes about 12 MiB of memory whatever the size.
 *
 * After an error, the part that came and was whole is durable, up to the first
 * byte that could not be written: see ret_progress->done. Past done the device
 * holds any mixture of its old content and the stream's. bsp_send() from there
 * and bsp_recv() with resume go on.
 */
bool bsp_recv(int from, const char *path,
	      const struct bsp_transfer_options *options,
	      struct bsp_progress *ret_progress, GError **error)
	BSP_NONNULL(2) G_GNUC_WARN_UNUSED_RESULT;

/*
 * The same into an object, which other threads may use. An object that is
 * shorter than the stream grows; a longer one keeps its bytes past the stream.
 * Holes are markers until the end of the stream.
 */
bool bsp_recv_into(int from, struct bsp_sparse *sp,
		   const struct bsp_transfer_options *options,
		   struct bsp_progress *ret_progress, GError **error)
	BSP_NONNULL(2) G_GNUC_WARN_UNUSED_RESULT;

G_END_DECLS

#endif
