/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An export of an NBD server as a device.
 *
 * Nothing is cached on this host: a write is at the server when it returns, and
 * reads come from there.
 *
 * Other writers cannot be counted. An export that the server serves read-only
 * is taken to be written by none while the connection lasts. So is one that the
 * user says is not shared. Another one counts no writes (content()), so that
 * the map is forgotten at each look.
 *
 * After the connection was lost, the content may be another. The generation of
 * the pool is a part of the medium, and nothing is connected anew before the
 * object above has forgotten the old content (reconnect()).
 *
 * Zeroing. A server writes its zeros itself, so its command is always cheaper
 * than zeros on the network. The command is given in pieces: some servers zero
 * less than they were asked beyond 64 MiB (nbdkit before 1.44.1), and a slow
 * piece must not keep other requests waiting for long. Where the server can
 * tell, a piece is asked for with the flag for fast zeroing first; if it
 * refuses, pieces are short. Both ends are read back of each piece that is
 * longer, or begins or ends at a finer boundary, than all before, and of some
 * others.
 */
#include "device/nbd.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/range-lock.h"
#include "base/range.h"
#include "base/zero.h"
#include "device/nbd-changes.h"
#include "device/nbd-extents.h"
#include "device/nbd-pool.h"
#include "device/nbd-queue.h"
#include "device/nbd-uri.h"

enum {
	ZERO_PIECE = 32 << 20,
	SLOW_PIECE = 4 << 20,
	CHECK_EVERY = 64 << 20, /* bytes zeroed for each piece checked */
	CHECK_MAX = 4096,	/* bytes read back */
};

struct nbd {
	struct bsp_device dev;
	/* Fixed after opening. */
	struct bsp_nbd_pool *pool;
	struct bsp_nbd_extents *extents;
	const char *layer; /* for people; interned */

	atomic_uint trust;    /* an enum bsp_known_trust */
	atomic_bool unshared; /* no other program writes */
	/* Held shared to write whole blocks, and exclusive to write a part of
	 * a block, which is read first. In bytes. */
	struct bsp_range_lock blocks;
	/* Atomic: bytes zeroed since the last check; of the pieces that were
	 * checked, the length of the longest, and the finest units that one
	 * began and ended at; whether a check failed, and no flush has told
	 * yet. */
	_Atomic uint64_t unchecked, longest, finest_begin, finest_end;
	atomic_bool zeroes_badly, zeroed_badly;
	atomic_bool slow_zero; /* the server refused to zero fast */
};

static struct nbd *to_nbd(struct bsp_device *dev)
{
	return (struct nbd *)dev;
}

/* --- Blocks --- */

/* The blocks around a range. A server may refuse requests that do not begin and
 * end at a block. */
struct blocks {
	uint64_t off;  /* where the first begins */
	uint64_t len;  /* of all, as far as they are in the export */
	uint64_t skip; /* from there to the range */
};

/* The range is in the export. */
static struct blocks blocks_around(const struct bsp_nbd_export *export,
				   uint64_t off, uint64_t len)
{
	struct blocks blocks = { 0 };
	uint64_t unit = export->block_min, end;

	blocks.off = off - off % unit;
	blocks.skip = off - blocks.off;
	end = (off + len + unit - 1) / unit * unit;
	blocks.len = bsp_min(end, export->size) - blocks.off;
	return blocks;
}

static bool is_whole(const struct blocks *blocks, uint64_t len)
{
	return blocks->len == len;
}

/* generation: that of the bytes which were read before; 0 for none. */
static int run_in(struct nbd *nbd, uint64_t generation,
		  enum bsp_nbd_command command, unsigned flags, uint64_t off,
		  void *buf, uint64_t len)
{
	struct bsp_nbd_export export;

	(void)bsp_nbd_pool_get_export(nbd->pool, &export);
	/* After the connection was lost, it may be another one. */
	if (export.read_only && command != BSP_NBD_READ)
		return -EROFS;
	if (!export.can_flush && export.can_fua &&
	    (command == BSP_NBD_WRITE || command == BSP_NBD_ZERO))
		flags |= BSP_NBD_FUA;
	return bsp_nbd_pool_run_in(nbd->pool, generation, command, flags, off,
				   buf, len);
}

static int run(struct nbd *nbd, enum bsp_nbd_command command, unsigned flags,
	       uint64_t off, void *buf, uint64_t len)
{
	return run_in(nbd, 0, command, flags, off, buf, len);
}

/* --- Reading --- */

static ssize_t read_with(struct nbd *nbd, unsigned flags, uint64_t off,
			 void *buf, size_t len)
{
	struct bsp_nbd_export export;
	struct blocks blocks;
	void *bounce;
	int r;

	/* Once: after the connection was lost, the size may be another. */
	(void)bsp_nbd_pool_get_export(nbd->pool, &export);
	len = (size_t)bsp_range_clamp(off, len, export.size);
	if (!len)
		return 0;
	blocks = blocks_around(&export, off, len);
	if (is_whole(&blocks, len)) {
		r = run(nbd, BSP_NBD_READ, flags, off, buf, len);
		return r ? r : (ssize_t)len;
	}
	bounce = malloc((size_t)blocks.len);
	if (!bounce)
		return -ENOMEM;
	r = run(nbd, BSP_NBD_READ, flags, blocks.off, bounce, blocks.len);
	if (!r)
		memcpy(buf, (char *)bounce + blocks.skip, len);
	free(bounce);
	return r ? r : (ssize_t)len;
}

static ssize_t nbd_read(struct bsp_device *dev, uint64_t off, void *buf,
			size_t len)
{
	return read_with(to_nbd(dev), 0, off, buf, len);
}

static struct bsp_read_queue *nbd_read_queue(struct bsp_device *dev,
					     unsigned depth)
{
	/* Losing the connection would lose writes that were not flushed. */
	return bsp_nbd_queue_new(to_nbd(dev)->pool, depth, !dev->info.writable);
}

static int nbd_size(struct bsp_device *dev, uint64_t *ret_size)
{
	struct bsp_nbd_state state;
	struct bsp_nbd_export export;

	bsp_nbd_pool_get_state(to_nbd(dev)->pool, &state);
	if (!state.connected)
		return -ENODEV;
	(void)bsp_nbd_pool_get_export(to_nbd(dev)->pool, &export);
	*ret_size = export.size;
	return 0;
}

/* --- Holes that are known --- */

/* Why nothing is known; NULL if the server is asked. */
static const char *reason_for_nothing(struct nbd *nbd)
{
	struct bsp_nbd_export export;

	if (atomic_load(&nbd->trust) == BSP_KNOWN_OFF)
		return "known=off";
	(void)bsp_nbd_pool_get_export(nbd->pool, &export);
	return export.has_extents
		       ? NULL
		       : "its server does not tell extents (base:allocation)";
}

static struct bsp_known_answer nbd_known(struct bsp_device *dev,
					 uint64_t generation, bool may_build,
					 uint64_t off, uint64_t limit)
{
	struct nbd *nbd = to_nbd(dev);
	struct bsp_known_answer answer = { false, limit };
	struct bsp_nbd_export export;
	uint64_t len;

	(void)bsp_nbd_pool_get_export(nbd->pool, &export);
	len = bsp_range_clamp(off, limit - off, export.size);
	if (len && !reason_for_nothing(nbd))
		answer = bsp_nbd_extents_ask(nbd->extents, generation, off,
					     off + len);
	answer.layer = nbd->layer;
	return answer;
}

static void nbd_set_trust(struct bsp_device *dev, enum bsp_known_trust trust)
{
	atomic_store(&to_nbd(dev)->trust, (unsigned)trust);
}

static void nbd_layers(struct bsp_device *dev, bsp_layer_fn fn, void *data)
{
	struct nbd *nbd = to_nbd(dev);

	fn(data, nbd->layer, reason_for_nothing(nbd));
}

/* --- Changes from outside --- */

static void nbd_medium(struct bsp_device *dev, enum bsp_depth depth,
		       struct bsp_medium *ret_medium)
{
	struct bsp_nbd_state state;

	bsp_nbd_pool_get_state(to_nbd(dev)->pool, &state);
	*ret_medium = (struct bsp_medium){
		.sequence = state.lost ? 2 : 1,
		.connection = state.generation,
		.disconnected = !state.connected && !state.lost,
	};
}

static void nbd_content(struct bsp_device *dev, struct bsp_content *ret_content)
{
	struct nbd *nbd = to_nbd(dev);
	struct bsp_nbd_export export;

	(void)bsp_nbd_pool_get_export(nbd->pool, &export);
	*ret_content = (struct bsp_content){
		.counted = export.read_only || atomic_load(&nbd->unshared),
		.settled = true,
	};
}

static void nbd_set_unshared(struct bsp_device *dev)
{
	atomic_store(&to_nbd(dev)->unshared, true);
}

static bool nbd_is_connected(struct bsp_device *dev)
{
	return bsp_nbd_pool_is_connected(to_nbd(dev)->pool);
}

static bool nbd_has_lost(struct bsp_device *dev)
{
	struct bsp_nbd_state state;

	bsp_nbd_pool_get_state(to_nbd(dev)->pool, &state);
	return state.lost;
}

static void nbd_reconnect(struct bsp_device *dev, uint64_t connection)
{
	bsp_nbd_pool_reconnect(to_nbd(dev)->pool, connection);
}

static void nbd_cancel(struct bsp_device *dev)
{
	bsp_nbd_pool_cancel(to_nbd(dev)->pool);
}

/* --- Writing --- */

/* Writes a part of blocks: reads them, and writes them whole to the same
 * server. The caller holds them exclusively. */
static int write_parts(struct nbd *nbd, uint64_t generation,
		       const struct blocks *blocks, const void *buf, size_t len)
{
	void *bounce = malloc((size_t)blocks->len);
	int r;

	if (!bounce)
		return -ENOMEM;
	r = run_in(nbd, generation, BSP_NBD_READ, 0, blocks->off, bounce,
		   blocks->len);
	if (!r) {
		memcpy((char *)bounce + blocks->skip, buf, len);
		r = run_in(nbd, generation, BSP_NBD_WRITE, 0, blocks->off,
			   bounce, blocks->len);
	}
	free(bounce);
	return r;
}

static ssize_t nbd_write(struct bsp_device *dev, uint64_t off, const void *buf,
			 size_t len)
{
	struct nbd *nbd = to_nbd(dev);
	struct bsp_nbd_export export;
	struct bsp_range_hold hold;
	struct blocks blocks;
	uint64_t generation;
	bool whole;
	int r;

	generation = bsp_nbd_pool_get_export(nbd->pool, &export);
	len = (size_t)bsp_range_clamp(off, len, export.size);
	if (!len)
		return -ENOSPC;
	blocks = blocks_around(&export, off, len);
	whole = is_whole(&blocks, len);
	bsp_range_lock(&nbd->blocks, &hold, blocks.off, blocks.off + blocks.len,
		       !whole);
	/* The buffer of a write is only read. */
	r = whole ? run(nbd, BSP_NBD_WRITE, 0, off, (void *)(uintptr_t)buf, len)
		  : write_parts(nbd, generation, &blocks, buf, len);
	bsp_range_unlock(&nbd->blocks, &hold);
	return r ? r : (ssize_t)len;
}

/* The largest power of two that off is a multiple of. */
static uint64_t unit_of(uint64_t off)
{
	return off ? off & (~off + 1) : UINT64_MAX;
}

/* Whether the ends of a piece are to be read back. A server may zero only so
 * many bytes of each command, so each piece is checked that is longer than all
 * before. It may zero only whole blocks of its own, so each is that begins or
 * ends at a finer boundary. */
static bool is_check_due(struct nbd *nbd, uint64_t off, uint64_t len)
{
	return atomic_load(&nbd->unchecked) >= CHECK_EVERY ||
	       len > atomic_load(&nbd->longest) ||
	       unit_of(off) < atomic_load(&nbd->finest_begin) ||
	       unit_of(off + len) < atomic_load(&nbd->finest_end);
}

static void lower_to(_Atomic uint64_t *least, uint64_t value)
{
	if (value < atomic_load(least))
		atomic_store(least, value);
}

/* Of two threads at a time, one may cause a check more than is due. */
static void note_check(struct nbd *nbd, uint64_t off, uint64_t len)
{
	atomic_store(&nbd->unchecked, 0);
	if (len > atomic_load(&nbd->longest))
		atomic_store(&nbd->longest, len);
	lower_to(&nbd->finest_begin, unit_of(off));
	lower_to(&nbd->finest_end, unit_of(off + len));
}

/* Reads back some bytes that the server says it has zeroed. */
static int check_zeros(struct nbd *nbd, uint64_t off, uint64_t len)
{
	char buf[CHECK_MAX];
	bool zero;
	ssize_t got = read_with(nbd, BSP_NBD_CHECK, off, buf, (size_t)len);

	if (got < 0)
		return (int)got;
	if (bsp_zero_run(buf, (size_t)got, (size_t)got, &zero) == (size_t)got &&
	    zero)
		return 0;
	atomic_store(&nbd->zeroes_badly, true);
	atomic_store(&nbd->zeroed_badly, true);
	return -EOPNOTSUPP;
}

/* Reads back the ends of a piece, if that is due. A check that fails, or is
 * interrupted, is due again. */
static int check_piece(struct nbd *nbd, uint64_t off, uint64_t len)
{
	uint64_t n = bsp_min(len, CHECK_MAX);
	int r;

	if (!is_check_due(nbd, off, len)) {
		atomic_fetch_add(&nbd->unchecked, len);
		return 0;
	}
	r = check_zeros(nbd, off + len - n, n);
	if (!r && n < len)
		r = check_zeros(nbd, off, n);
	if (!r)
		note_check(nbd, off, len);
	return r;
}

/* Zeroes one piece by the server's command. */
static int zero_piece(struct nbd *nbd, unsigned flags, uint64_t off,
		      uint64_t len)
{
	struct bsp_nbd_export export;
	int r = -EOPNOTSUPP;

	(void)bsp_nbd_pool_get_export(nbd->pool, &export);
	if (export.can_fast_zero && !atomic_load(&nbd->slow_zero)) {
		r = run(nbd, BSP_NBD_ZERO, flags | BSP_NBD_FAST_ZERO, off, NULL,
			len);
		if (r == -EOPNOTSUPP)
			atomic_store(&nbd->slow_zero, true);
	}
	return r == -EOPNOTSUPP ? run(nbd, BSP_NBD_ZERO, flags, off, NULL, len)
				: r;
}

static uint64_t piece_size(struct nbd *nbd)
{
	struct bsp_nbd_export export;

	(void)bsp_nbd_pool_get_export(nbd->pool, &export);
	return export.can_fast_zero && !atomic_load(&nbd->slow_zero)
		       ? ZERO_PIECE
		       : SLOW_PIECE;
}

static int zero(struct bsp_device *dev, unsigned flags, uint64_t off,
		uint64_t len)
{
	struct nbd *nbd = to_nbd(dev);
	struct bsp_nbd_export export;
	struct bsp_range_hold hold;
	int r = 0;

	(void)bsp_nbd_pool_get_export(nbd->pool, &export);
	if (!export.can_zero || atomic_load(&nbd->zeroes_badly))
		return -EOPNOTSUPP;
	bsp_range_lock(&nbd->blocks, &hold, off, off + len, false);
	while (len && !r) {
		uint64_t piece = bsp_min(len, piece_size(nbd));

		r = zero_piece(nbd, flags, off, piece);
		if (!r)
			r = check_piece(nbd, off, piece);
		off += piece;
		len -= piece;
	}
	bsp_range_unlock(&nbd->blocks, &hold);
	return r;
}

static int nbd_punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return zero(dev, 0, off, len);
}

static int nbd_zero_out(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return zero(dev, BSP_NBD_NO_HOLE, off, len);
}

static int nbd_discard(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	struct nbd *nbd = to_nbd(dev);
	struct bsp_nbd_export export;
	int r = 0;

	(void)bsp_nbd_pool_get_export(nbd->pool, &export);
	if (!export.can_trim)
		return -EOPNOTSUPP;
	while (len && !r) {
		uint64_t piece = bsp_min(len, ZERO_PIECE);

		r = run(nbd, BSP_NBD_TRIM, 0, off, NULL, piece);
		off += piece;
		len -= piece;
	}
	return r;
}

static void nbd_begin_change(struct bsp_device *dev)
{
	bsp_nbd_pool_begin_write(to_nbd(dev)->pool);
}

static void nbd_end_change(struct bsp_device *dev, bool changed)
{
	bsp_nbd_pool_end_write(to_nbd(dev)->pool, changed);
}

static int nbd_settle(struct bsp_device *dev)
{
	return bsp_nbd_pool_wait_for_left(to_nbd(dev)->pool, 0, UINT64_MAX);
}

/* Fails once after zeros were found missing: those of before may be, too, and
 * are written then. */
static int nbd_flush(struct bsp_device *dev)
{
	struct nbd *nbd = to_nbd(dev);
	int r = run(nbd, BSP_NBD_FLUSH, 0, 0, NULL, 0);

	if (atomic_exchange(&nbd->zeroed_badly, false))
		return -EIO;
	return r;
}

/* --- Changes that the server knows --- */

static bool nbd_changes(struct bsp_device *dev, struct bsp_changes *changes,
			GError **error)
{
	return bsp_nbd_changes_read(to_nbd(dev)->pool, changes, error);
}

/* --- Opening and closing --- */

static void nbd_close_device(struct bsp_device *dev)
{
	struct nbd *nbd = to_nbd(dev);

	bsp_nbd_pool_free(nbd->pool);
	bsp_nbd_extents_free(nbd->extents);
	bsp_range_lock_done(&nbd->blocks);
	g_free(nbd);
}

static const struct bsp_device_ops nbd_ops = {
	.read = nbd_read,
	.read_queue = nbd_read_queue,
	.size = nbd_size,
	.known = nbd_known,
	.set_trust = nbd_set_trust,
	.layers = nbd_layers,
	.medium = nbd_medium,
	.content = nbd_content,
	.set_unshared = nbd_set_unshared,
	.is_connected = nbd_is_connected,
	.has_lost = nbd_has_lost,
	.reconnect = nbd_reconnect,
	.cancel = nbd_cancel,
	.write = nbd_write,
	.read_through = nbd_read,
	.write_through = nbd_write,
	.punch = nbd_punch,
	.zero_out = nbd_zero_out,
	.discard = nbd_discard,
	.changes = nbd_changes,
	.begin_change = nbd_begin_change,
	.end_change = nbd_end_change,
	.settle = nbd_settle,
	.flush = nbd_flush,
	.close = nbd_close_device,
};

static bool check_writable(const char *shown,
			   const struct bsp_nbd_export *export, GError **error)
{
	if (!export->read_only)
		return true;
	return bsp_error_set(
		error, BSP_ERROR_FAILED,
		"%s is served read-only; have its server allow writing first",
		shown);
}

static void fill_info(struct bsp_device_info *info,
		      const struct bsp_nbd_export *export, bool writable)
{
	*info = (struct bsp_device_info){
		.size = export->size,
		.logical_block_size = (uint32_t)bsp_max(export->block_min, 512),
		.writable = writable,
		.uid = geteuid(),
		.gid = getegid(),
		.mode = writable ? 0600 : 0400,
	};
	(void)clock_gettime(CLOCK_REALTIME, &info->mtime);
}

struct bsp_device *bsp_device_nbd_new(const char *uri, bool writable,
				      const char *changes, GError **error)
{
	g_autofree char *shown = bsp_nbd_uri_redact(uri), *name = NULL,
			*layer = NULL;
	struct bsp_nbd_pool *pool =
		bsp_nbd_pool_new(uri, writable, changes, error);
	struct bsp_nbd_export export;
	struct nbd *nbd;

	if (!pool)
		return NULL;
	(void)bsp_nbd_pool_get_export(pool, &export);
	if (writable && !check_writable(shown, &export, error)) {
		bsp_nbd_pool_free(pool);
		return NULL;
	}
	name = bsp_nbd_uri_name(uri);
	layer = g_strdup_printf("%s (NBD)", name);
	nbd = g_new0(struct nbd, 1);
	nbd->dev.ops = &nbd_ops;
	nbd->dev.path = g_steal_pointer(&shown);
	fill_info(&nbd->dev.info, &export, writable);
	pthread_mutex_init(&nbd->dev.through_lock, NULL);
	bsp_range_lock_init(&nbd->blocks);
	nbd->pool = pool;
	nbd->extents = bsp_nbd_extents_new(pool);
	nbd->layer = g_intern_string(layer);
	atomic_init(&nbd->finest_begin, UINT64_MAX);
	atomic_init(&nbd->finest_end, UINT64_MAX);
	atomic_init(&nbd->trust, BSP_KNOWN_AUTO);
	return &nbd->dev;
}
