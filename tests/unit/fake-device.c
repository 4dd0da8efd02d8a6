/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The recording device. Three arrays hold bytes: those that a read returns,
 * those that the device holds, and those of the last good flush. Only tests
 * that ask for a page cache (fake_cache()) have the last two.
 *
 * Recorded calls are appended to a list. A test takes the list with
 * fake_reads() or fake_changes(), and the calls after that go to a second list,
 * so that the first one stays valid while other threads still call.
 */
#include "fake-device.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/range.h"

struct fake {
	struct bsp_device dev;
	pthread_mutex_t lock; /* protects all fields below */
	unsigned char *bytes; /* those that read() returns */
	unsigned char *disk;  /* those that the device holds; NULL: the same */
	unsigned char *durable; /* those of the last good flush */
	bool deceives;		/* see fake_deceive() */
	bool *cached; /* for each byte: the device does not have it yet */
	enum fake_loss loss;
	uint64_t capacity;
	uint64_t size;
	uint64_t writes;
	bool dirty;
	bool counting;
	bool fail_whole;
	struct fake_call failing;
	int failing_errno;
	struct fake_call zeros;
	bool knows_true_zeros;
	GArray *unseen; /* of struct fake_call: dirty, for known() not to see */
	unsigned questions;
	enum bsp_known_trust trust;
	void (*question_hook)(void *data); /* fixed before use by threads */
	void *question_hook_data;
	uint64_t read_max;
	unsigned samples;
	struct bsp_medium medium;
	bool unsettled, young;
	GArray *beneath; /* of struct patch: bytes below cached pages */
	unsigned drops, failing_drops;
	void (*hook)(void *data);
	void *hook_data;
	void (*sample_hook)(void *data); /* fixed before use by threads */
	void *sample_hook_data;
	void (*write_hook)(void *data, uint64_t off); /* likewise */
	void *write_hook_data;
	void (*zeroing_hook)(void *data); /* likewise */
	void *zeroing_hook_data;
	void (*flush_hook)(void *data); /* likewise */
	void *flush_hook_data;
	unsigned ways;
	struct fake_call failing_writes;
	int failing_writes_errno;
	unsigned failing_kinds;
	struct fake_call failing_commands;
	int failing_commands_errno;
	int flush_errno;
	unsigned flushes;
	GArray *reads;
	GArray *told; /* the list that fake_reads() returned last */
	GArray *changes;
	GArray *changes_told;
};

/* A range of the device whose cached pages hold other bytes. */
struct patch {
	uint64_t off, len;
	int byte;
};

static void fill(struct fake *fake, uint64_t off, uint64_t len, int byte)
{
	memset(fake->bytes + off, byte, len);
}

static struct fake *to_fake(struct bsp_device *dev)
{
	return (struct fake *)dev;
}

/* Returns the offset in [off, off + len) at which a read fails; off + len if it
 * does not. */
static uint64_t good_until(const struct fake *fake, uint64_t off, uint64_t len)
{
	uint64_t bad = fake->failing.off;

	if (!fake->failing.len || off >= bad + fake->failing.len ||
	    off + len <= bad)
		return off + len;
	return fake->fail_whole ? off : bsp_max(bad, off);
}

static ssize_t read_as(struct fake *fake, enum fake_kind kind, uint64_t off,
		       void *buf, size_t len)
{
	struct fake_call call = { off, len, kind };
	void (*hook)(void *) = NULL;
	void *hook_data = NULL;
	ssize_t n;

	pthread_mutex_lock(&fake->lock);
	g_array_append_val(fake->reads, call);
	len = bsp_range_clamp(off, len, fake->size);
	len = bsp_min(len, fake->read_max);
	n = (ssize_t)(good_until(fake, off, len) - off);
	if (len && n == 0)
		n = -fake->failing_errno;
	else if (len)
		memcpy(buf, fake->bytes + off, (size_t)n);
	hook = fake->hook;
	hook_data = fake->hook_data;
	pthread_mutex_unlock(&fake->lock);
	if (hook)
		hook(hook_data);
	return n;
}

/* Writes the cached bytes of [off, off + len) to the device, or drops them. */
static void write_back(struct fake *fake, uint64_t off, uint64_t len, bool drop)
{
	for (uint64_t at = off; fake->disk && at < off + len; at++) {
		if (fake->cached[at] && !drop)
			fake->disk[at] = fake->bytes[at];
		fake->cached[at] = false;
	}
}

static ssize_t fake_read(struct bsp_device *dev, uint64_t off, void *buf,
			 size_t len)
{
	return read_as(to_fake(dev), FAKE_READ, off, buf, len);
}

static ssize_t fake_read_through(struct bsp_device *dev, uint64_t off,
				 void *buf, size_t len)
{
	struct fake *fake = to_fake(dev);

	pthread_mutex_lock(&fake->lock);
	if (!fake->deceives)
		write_back(fake, off, bsp_range_clamp(off, len, fake->size),
			   false);
	pthread_mutex_unlock(&fake->lock);
	return read_as(fake, FAKE_READ_THROUGH, off, buf, len);
}

static int fake_size(struct bsp_device *dev, uint64_t *ret_size)
{
	struct fake *fake = to_fake(dev);
	int r = 0;

	pthread_mutex_lock(&fake->lock);
	if (fake->size)
		*ret_size = fake->size;
	else
		r = -ENODEV;
	pthread_mutex_unlock(&fake->lock);
	return r;
}

static void fake_medium(struct bsp_device *dev, enum bsp_depth depth,
			struct bsp_medium *ret_medium)
{
	struct fake *fake = to_fake(dev);

	pthread_mutex_lock(&fake->lock);
	*ret_medium = fake->medium;
	if (depth < BSP_DEPTH_ALL)
		ret_medium->table = 0;
	if (depth < BSP_DEPTH_CHEAP)
		ret_medium->file_ino = 0;
	pthread_mutex_unlock(&fake->lock);
}

static void fake_content(struct bsp_device *dev,
			 struct bsp_content *ret_content)
{
	struct fake *fake = to_fake(dev);

	if (fake->sample_hook)
		fake->sample_hook(fake->sample_hook_data);
	pthread_mutex_lock(&fake->lock);
	fake->samples++;
	if (fake->dirty)
		fake->writes++;
	fake->dirty = false;
	g_array_set_size(fake->unseen, 0);
	*ret_content = (struct bsp_content){ .value = { fake->writes },
					     .counted = fake->counting,
					     .settled = !fake->unsettled,
					     .young = fake->young };
	pthread_mutex_unlock(&fake->lock);
}

static int fake_drop_pages(struct bsp_device *dev, uint64_t from)
{
	struct fake *fake = to_fake(dev);
	int r = 0;

	pthread_mutex_lock(&fake->lock);
	fake->drops++;
	if (fake->failing_drops) {
		fake->failing_drops--;
		r = from == UINT64_MAX ? 0 : -EBUSY;
	} else {
		for (guint i = 0; i < fake->beneath->len; i++) {
			const struct patch *p =
				&g_array_index(fake->beneath, struct patch, i);

			fill(fake, p->off, p->len, p->byte);
		}
		g_array_set_size(fake->beneath, 0);
	}
	pthread_mutex_unlock(&fake->lock);
	return r;
}

enum { SHOWN_BLOCK = 4096, SHOWN_MAX = 64 };

/* Whether the layers show zeros in the block at off. */
static bool shows_zeros(const struct fake *fake, uint64_t off)
{
	uint64_t len = bsp_range_clamp(off, SHOWN_BLOCK, fake->size);

	for (guint i = 0; i < fake->unseen->len; i++) {
		const struct fake_call *dirty =
			&g_array_index(fake->unseen, struct fake_call, i);

		if (off >= dirty->off && off < dirty->off + dirty->len)
			return true;
	}
	for (uint64_t i = 0; i < len; i++)
		if (fake->bytes[off + i])
			return false;
	return true;
}

static struct bsp_known_answer true_answer(const struct fake *fake,
					   uint64_t off, uint64_t limit)
{
	uint64_t at = off;
	bool zeros = shows_zeros(fake, off);

	for (int n = 0; at < limit && n < SHOWN_MAX; n++) {
		if (shows_zeros(fake, at) != zeros)
			break;
		at = bsp_align_up(at + 1, 12);
	}
	return (struct bsp_known_answer){ zeros, bsp_min(at, limit),
					  g_intern_static_string("fake") };
}

static struct bsp_known_answer fake_known(struct bsp_device *dev,
					  uint64_t generation, bool may_build,
					  uint64_t off, uint64_t limit)
{
	struct fake *fake = to_fake(dev);
	struct bsp_known_answer answer = { false, limit };

	pthread_mutex_lock(&fake->lock);
	fake->questions++;
	if (fake->trust == BSP_KNOWN_OFF)
		answer.end = limit;
	else if (fake->knows_true_zeros)
		answer = true_answer(fake, off, limit);
	else if (off < fake->zeros.off)
		answer.end = bsp_min(limit, fake->zeros.off);
	else if (off < fake->zeros.off + fake->zeros.len)
		answer = (struct bsp_known_answer){
			true, bsp_min(limit, fake->zeros.off + fake->zeros.len),
			g_intern_static_string("fake")
		};
	pthread_mutex_unlock(&fake->lock);
	if (fake->question_hook)
		fake->question_hook(fake->question_hook_data);
	return answer;
}

static void fake_layers(struct bsp_device *dev, bsp_layer_fn fn, void *data)
{
	fn(data, "fake", NULL);
}

static void fake_set_trust(struct bsp_device *dev, enum bsp_known_trust trust)
{
	struct fake *fake = to_fake(dev);

	pthread_mutex_lock(&fake->lock);
	fake->trust = trust;
	pthread_mutex_unlock(&fake->lock);
}

/* --- Writing --- */

/* Records the call. Returns how many bytes of [off, off + len) can be written.
 */
static uint64_t writable_part(struct fake *fake, enum fake_kind kind,
			      uint64_t off, uint64_t len)
{
	struct fake_call call = { off, len, kind };
	uint64_t bad = fake->failing_writes.off;
	uint64_t bad_end = bad + fake->failing_writes.len;

	g_array_append_val(fake->changes, call);
	if (off + len <= bad || off >= bad_end)
		return len;
	return bad > off ? bad - off : 0;
}

static ssize_t write_as(struct fake *fake, enum fake_kind kind, uint64_t off,
			const void *buf, size_t len)
{
	ssize_t n;

	pthread_mutex_lock(&fake->lock);
	if (off >= fake->size) {
		n = -ENOSPC;
	} else {
		len = bsp_range_clamp(off, len, fake->size);
		n = (ssize_t)writable_part(fake, kind, off, len);
		memcpy(fake->bytes + off, buf,
		       fake->deceives ? len : (size_t)n);
		if (fake->disk)
			memset(fake->cached + off, true, (size_t)n);
		if (kind == FAKE_THROUGH)
			write_back(fake, off, (uint64_t)n, false);
		if (n == 0)
			n = -fake->failing_writes_errno;
	}
	pthread_mutex_unlock(&fake->lock);
	return n;
}

static ssize_t fake_pwrite(struct bsp_device *dev, uint64_t off,
			   const void *buf, size_t len)
{
	struct fake *fake = to_fake(dev);

	if (fake->write_hook)
		fake->write_hook(fake->write_hook_data, off);
	return write_as(fake, FAKE_WRITE, off, buf, len);
}

static ssize_t fake_write_through(struct bsp_device *dev, uint64_t off,
				  const void *buf, size_t len)
{
	struct fake *fake = to_fake(dev);

	if (fake->write_hook)
		fake->write_hook(fake->write_hook_data, off);
	return write_as(fake, FAKE_THROUGH, off, buf, len);
}

static bool command_fails(const struct fake *fake, enum fake_kind kind,
			  uint64_t off, uint64_t len)
{
	return (fake->failing_kinds & 1U << kind) &&
	       off < fake->failing_commands.off + fake->failing_commands.len &&
	       fake->failing_commands.off < off + len;
}

static int change_range(struct bsp_device *dev, enum fake_kind kind,
			uint64_t off, uint64_t len)
{
	struct fake *fake = to_fake(dev);
	uint64_t part;
	int r = 0;

	if (fake->zeroing_hook)
		fake->zeroing_hook(fake->zeroing_hook_data);
	pthread_mutex_lock(&fake->lock);
	part = writable_part(fake, kind, off, len);
	if (!(fake->ways & 1U << kind)) {
		r = -EOPNOTSUPP;
	} else if (off + len > fake->size || off % 512 || len % 512) {
		r = -EINVAL;
	} else if (command_fails(fake, kind, off, len)) {
		r = -fake->failing_commands_errno;
	} else {
		memset(fake->bytes + off, 0, part);
		for (uint64_t at = off; kind == FAKE_UNMAP && at < off + part;
		     at++)
			fake->bytes[at] = at / 4096 % 2 ? 0x55 : 0;
		r = part < len ? -fake->failing_writes_errno : 0;
		if (fake->disk)
			memset(fake->cached + off, true, part);
		write_back(fake, off, part, false);
	}
	pthread_mutex_unlock(&fake->lock);
	return r;
}

static int fake_punch(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return change_range(dev, FAKE_PUNCH, off, len);
}

static int fake_zero_out(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return change_range(dev, FAKE_ZERO_OUT, off, len);
}

static int fake_unmap(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	return change_range(dev, FAKE_UNMAP, off, len);
}

static void fake_write_back(struct bsp_device *dev, uint64_t off, uint64_t len)
{
	struct fake_call call = { off, len, FAKE_WRITE_BACK };
	struct fake *fake = to_fake(dev);

	pthread_mutex_lock(&fake->lock);
	g_array_append_val(fake->changes, call);
	pthread_mutex_unlock(&fake->lock);
}

static int fake_flush(struct bsp_device *dev)
{
	struct fake *fake = to_fake(dev);
	int r;

	if (fake->flush_hook)
		fake->flush_hook(fake->flush_hook_data);
	pthread_mutex_lock(&fake->lock);
	fake->flushes++;
	r = -fake->flush_errno;
	write_back(fake, 0, fake->capacity, r != 0);
	if (fake->disk && !r)
		memcpy(fake->durable, fake->disk, fake->capacity);
	else if (fake->disk && fake->loss == FAKE_LOSES_ALL)
		memcpy(fake->disk, fake->durable, fake->capacity);
	/* Bytes that could not be written are read from the device again. */
	if (fake->disk && r && !fake->deceives)
		memcpy(fake->bytes, fake->disk, fake->capacity);
	pthread_mutex_unlock(&fake->lock);
	return r;
}

static void fake_close(struct bsp_device *dev)
{
	struct fake *fake = to_fake(dev);

	pthread_mutex_destroy(&fake->lock);
	g_array_unref(fake->beneath);
	g_array_unref(fake->unseen);
	g_array_unref(fake->reads);
	g_array_unref(fake->told);
	g_array_unref(fake->changes);
	g_array_unref(fake->changes_told);
	free(fake->bytes);
	g_free(fake->disk);
	g_free(fake->durable);
	g_free(fake->cached);
	g_free(fake);
}

static const struct bsp_device_ops fake_ops = {
	.read = fake_read,
	.size = fake_size,
	.medium = fake_medium,
	.content = fake_content,
	.drop_pages = fake_drop_pages,
	.known = fake_known,
	.layers = fake_layers,
	.set_trust = fake_set_trust,
	.write = fake_pwrite,
	.read_through = fake_read_through,
	.write_through = fake_write_through,
	.punch = fake_punch,
	.zero_out = fake_zero_out,
	.unmap = fake_unmap,
	.discard = fake_unmap,
	.write_back = fake_write_back,
	.flush = fake_flush,
	.close = fake_close,
};

struct fake *fake_new(uint64_t size)
{
	struct fake *fake = g_new0(struct fake, 1);

	fake->dev.ops = &fake_ops;
	fake->dev.path = g_strdup("fake");
	fake->dev.info.size = size;
	fake->dev.info.logical_block_size = 512;
	fake->dev.info.is_block = true;
	pthread_mutex_init(&fake->dev.through_lock, NULL);
	pthread_mutex_init(&fake->lock, NULL);
	fake->bytes = calloc(1, size ? size : 1);
	fake->capacity = size;
	fake->size = size;
	fake->counting = true;
	fake->medium =
		(struct bsp_medium){ .sequence = 1, .file_ino = 1, .table = 1 };
	fake->unseen = g_array_new(FALSE, FALSE, sizeof(struct fake_call));
	fake->beneath = g_array_new(FALSE, FALSE, sizeof(struct patch));
	fake->read_max = UINT64_MAX;
	fake->reads = g_array_new(FALSE, FALSE, sizeof(struct fake_call));
	fake->told = g_array_new(FALSE, FALSE, sizeof(struct fake_call));
	fake->changes = g_array_new(FALSE, FALSE, sizeof(struct fake_call));
	fake->changes_told =
		g_array_new(FALSE, FALSE, sizeof(struct fake_call));
	return fake;
}

struct bsp_device *fake_device(struct fake *fake)
{
	return &fake->dev;
}

unsigned char *fake_bytes(struct fake *fake)
{
	return fake->bytes;
}

void fake_write(struct fake *fake, uint64_t off, uint64_t len, int byte)
{
	pthread_mutex_lock(&fake->lock);
	fill(fake, off, len, byte);
	fake->writes++;
	pthread_mutex_unlock(&fake->lock);
}

void fake_write_dirty(struct fake *fake, uint64_t off, uint64_t len, int byte)
{
	struct fake_call dirty = { .off = off, .len = len };

	pthread_mutex_lock(&fake->lock);
	fill(fake, off, len, byte);
	fake->dirty = true;
	if (fake->knows_true_zeros)
		g_array_append_val(fake->unseen, dirty);
	pthread_mutex_unlock(&fake->lock);
}

void fake_resize(struct fake *fake, uint64_t size)
{
	pthread_mutex_lock(&fake->lock);
	if (size > fake->capacity)
		abort();
	fake->size = size;
	pthread_mutex_unlock(&fake->lock);
}

void fake_fail_reads(struct fake *fake, uint64_t off, uint64_t len, int errnum)
{
	pthread_mutex_lock(&fake->lock);
	fake->failing = (struct fake_call){ .off = off, .len = len };
	fake->failing_errno = errnum;
	pthread_mutex_unlock(&fake->lock);
}

void fake_fail_whole(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->fail_whole = true;
	pthread_mutex_unlock(&fake->lock);
}

void fake_limit_reads(struct fake *fake, uint64_t max)
{
	pthread_mutex_lock(&fake->lock);
	fake->read_max = max;
	pthread_mutex_unlock(&fake->lock);
}

void fake_know_zeros(struct fake *fake, uint64_t off, uint64_t len)
{
	pthread_mutex_lock(&fake->lock);
	fake->zeros = (struct fake_call){ .off = off, .len = len };
	pthread_mutex_unlock(&fake->lock);
}

void fake_know_true_zeros(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->knows_true_zeros = true;
	pthread_mutex_unlock(&fake->lock);
}

void fake_on_question(struct fake *fake, void (*hook)(void *data), void *data)
{
	fake->question_hook = hook;
	fake->question_hook_data = data;
}

void fake_change_medium(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->medium.sequence++;
	pthread_mutex_unlock(&fake->lock);
}

void fake_change_file(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->medium.file_off += 4096;
	pthread_mutex_unlock(&fake->lock);
}

void fake_change_table(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->medium.table++;
	pthread_mutex_unlock(&fake->lock);
}

void fake_change_layers(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->medium.layers++;
	pthread_mutex_unlock(&fake->lock);
}

void fake_set_settled(struct fake *fake, bool settled)
{
	pthread_mutex_lock(&fake->lock);
	fake->unsettled = !settled;
	pthread_mutex_unlock(&fake->lock);
}

void fake_set_young(struct fake *fake, bool young)
{
	pthread_mutex_lock(&fake->lock);
	fake->young = young;
	pthread_mutex_unlock(&fake->lock);
}

void fake_put_beneath(struct fake *fake, uint64_t off, uint64_t len, int byte)
{
	struct patch patch = { off, len, byte };

	pthread_mutex_lock(&fake->lock);
	g_array_append_val(fake->beneath, patch);
	pthread_mutex_unlock(&fake->lock);
}

void fake_fail_drops(struct fake *fake, unsigned n)
{
	pthread_mutex_lock(&fake->lock);
	fake->failing_drops = n;
	pthread_mutex_unlock(&fake->lock);
}

unsigned fake_drops(struct fake *fake)
{
	unsigned n;

	pthread_mutex_lock(&fake->lock);
	n = fake->drops;
	pthread_mutex_unlock(&fake->lock);
	return n;
}

void fake_stop_counting(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->counting = false;
	pthread_mutex_unlock(&fake->lock);
}

void fake_on_read(struct fake *fake, void (*hook)(void *data), void *data)
{
	pthread_mutex_lock(&fake->lock);
	fake->hook = hook;
	fake->hook_data = data;
	pthread_mutex_unlock(&fake->lock);
}

void fake_on_sample(struct fake *fake, void (*hook)(void *data), void *data)
{
	fake->sample_hook = hook;
	fake->sample_hook_data = data;
}

void fake_on_write(struct fake *fake, void (*hook)(void *data, uint64_t off),
		   void *data)
{
	fake->write_hook = hook;
	fake->write_hook_data = data;
}

void fake_on_zeroing(struct fake *fake, void (*hook)(void *data), void *data)
{
	fake->zeroing_hook = hook;
	fake->zeroing_hook_data = data;
}

void fake_on_flush(struct fake *fake, void (*hook)(void *data), void *data)
{
	fake->flush_hook = hook;
	fake->flush_hook_data = data;
}

/* Returns the calls of *list, and replaces it by the other list, emptied. */
static size_t hand_out(struct fake *fake, GArray **list, GArray **told,
		       const struct fake_call **ret_calls)
{
	GArray *out;

	pthread_mutex_lock(&fake->lock);
	out = *list;
	*list = *told;
	*told = out;
	g_array_set_size(*list, 0);
	pthread_mutex_unlock(&fake->lock);
	if (ret_calls)
		*ret_calls = (const struct fake_call *)(void *)out->data;
	return out->len;
}

size_t fake_reads(struct fake *fake, const struct fake_call **ret_reads)
{
	return hand_out(fake, &fake->reads, &fake->told, ret_reads);
}

size_t fake_changes(struct fake *fake, const struct fake_call **ret_changes)
{
	return hand_out(fake, &fake->changes, &fake->changes_told, ret_changes);
}

void fake_make_writable(struct fake *fake, unsigned ways)
{
	fake->dev.info.writable = true;
	fake->ways = ways;
}

void fake_fail_writes(struct fake *fake, uint64_t off, uint64_t len, int errnum)
{
	pthread_mutex_lock(&fake->lock);
	fake->failing_writes = (struct fake_call){ .off = off, .len = len };
	fake->failing_writes_errno = errnum;
	pthread_mutex_unlock(&fake->lock);
}

void fake_fail_commands(struct fake *fake, unsigned kinds, uint64_t off,
			uint64_t len, int errnum)
{
	pthread_mutex_lock(&fake->lock);
	fake->failing_kinds = kinds;
	fake->failing_commands = (struct fake_call){ .off = off, .len = len };
	fake->failing_commands_errno = errnum;
	pthread_mutex_unlock(&fake->lock);
}

void fake_fail_flush(struct fake *fake, int errnum)
{
	pthread_mutex_lock(&fake->lock);
	fake->flush_errno = errnum;
	pthread_mutex_unlock(&fake->lock);
}

void fake_cache(struct fake *fake, enum fake_loss loss)
{
	pthread_mutex_lock(&fake->lock);
	fake->disk = g_memdup2(fake->bytes, fake->capacity);
	fake->durable = g_memdup2(fake->bytes, fake->capacity);
	fake->cached = g_new0(bool, fake->capacity);
	fake->loss = loss;
	pthread_mutex_unlock(&fake->lock);
}

void fake_deceive(struct fake *fake)
{
	pthread_mutex_lock(&fake->lock);
	fake->deceives = true;
	pthread_mutex_unlock(&fake->lock);
}

const unsigned char *fake_disk(struct fake *fake)
{
	return fake->disk;
}

unsigned fake_flushes(struct fake *fake)
{
	unsigned n;

	pthread_mutex_lock(&fake->lock);
	n = fake->flushes;
	pthread_mutex_unlock(&fake->lock);
	return n;
}

unsigned fake_questions(struct fake *fake)
{
	unsigned n;

	pthread_mutex_lock(&fake->lock);
	n = fake->questions;
	pthread_mutex_unlock(&fake->lock);
	return n;
}

unsigned fake_samples(struct fake *fake)
{
	unsigned n;

	pthread_mutex_lock(&fake->lock);
	n = fake->samples;
	pthread_mutex_unlock(&fake->lock);
	return n;
}
