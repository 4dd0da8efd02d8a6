/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/nbd-changes.h"

#include <errno.h>

#include "base/error.h"
#include "base/interrupt.h"
#include "base/range.h"
#include "blksparse.h"
#include "device/nbd-uri.h"

enum { STATE_DIRTY = 1 << 0 };

/* The longest question: a multiple of every server's blocks. */
#define QUESTION ((UINT64_C(1) << 30))

struct source {
	struct bsp_changes_source source; /* first */
	struct bsp_nbd_pool *pool;
	uint64_t generation;
};

struct question {
	struct bsp_nbd_request request; /* first */
	struct bsp_changes *changes;
	uint64_t end; /* of the answer */
	bool answered;
	bool broken;
	int error; /* of keeping the changes */
};

static bool fail(const struct bsp_nbd_pool *pool, const char *why,
		 GError **error)
{
	g_autofree char *shown = bsp_nbd_uri_redact(bsp_nbd_pool_uri(pool));

	return bsp_error_set(error, BSP_ERROR_FAILED, "%s: %s", shown, why);
}

/* --- After the changes were read --- */

static bool check(struct bsp_changes_source *source, GError **error)
{
	const struct source *s = (struct source *)source;
	struct bsp_nbd_state state;

	bsp_nbd_pool_get_state(s->pool, &state);
	if (state.connected && state.generation == s->generation)
		return true;
	return fail(s->pool,
		    "the connection was lost, and with it the changes: another "
		    "server may have answered since",
		    error);
}

static void free_source(struct bsp_changes_source *source)
{
	g_free(source);
}

/* --- Questions --- */

/* The extents() of a request. */
static void take_answer(struct bsp_nbd_request *request,
			const uint32_t *entries, size_t n)
{
	struct question *question = (struct question *)request;
	uint64_t limit = request->off + request->len;

	/* A second answer cannot take back the first. */
	question->broken |= question->answered || n < 2;
	question->answered = true;
	for (size_t i = 0; i + 1 < n && !question->broken; i += 2) {
		uint64_t from = question->end;
		uint64_t to = bsp_min(from + entries[i], limit);

		question->broken = !entries[i];
		if ((entries[i + 1] & STATE_DIRTY) && !question->error)
			question->error = bsp_changes_add(question->changes,
							  from, to - from);
		question->end = to;
	}
}

/* Asks for what has changed from off on. Returns 0 or -errno, and the end of
 * the answer. */
static int ask(struct bsp_nbd_pool *pool, struct bsp_changes *changes,
	       uint64_t off, uint64_t *ret_end)
{
	struct question question = {
		.request = {
			.command = BSP_NBD_CHANGES,
			.off = off,
			.len = bsp_min(QUESTION,
				       bsp_changes_size(changes) - off),
			.extents = take_answer,
		},
		.changes = changes,
		.end = off,
	};
	struct bsp_nbd_conn *conn;
	int r = bsp_nbd_pool_get(pool, false, &conn);

	if (r)
		return r;
	r = bsp_nbd_conn_run(conn, &question.request);
	bsp_nbd_pool_put(pool, false, conn);
	*ret_end = question.end;
	if (r)
		return r;
	if (question.error)
		return question.error;
	return question.broken || question.end == off ? -EPROTO : 0;
}

static bool read_all(struct bsp_nbd_pool *pool, struct bsp_changes *changes,
		     GError **error)
{
	uint64_t off = 0, size = bsp_changes_size(changes);
	struct bsp_interrupt before =
		bsp_interrupt_swap((struct bsp_interrupt){ 0 });
	struct bsp_interrupt ends = before;
	int r = 0;

	/* A question is on the stack, and must be done after an interrupt. */
	ends.ends = true;
	(void)bsp_interrupt_swap(ends);
	while (off < size && !r)
		r = ask(pool, changes, off, &off);
	(void)bsp_interrupt_swap(before);
	if (r == -EINTR)
		return bsp_error_set(error, BSP_ERROR_INTERRUPTED,
				     "interrupted");
	if (r == -EPROTO)
		return fail(pool, "its answer about changes makes no sense",
			    error);
	if (r)
		return fail(pool, g_strerror(-r), error);
	return true;
}

bool bsp_nbd_changes_read(struct bsp_nbd_pool *pool,
			  struct bsp_changes *changes, GError **error)
{
	struct bsp_nbd_export export;
	struct source *source;
	uint64_t generation = bsp_nbd_pool_get_export(pool, &export);

	if (!export.has_changes)
		return fail(pool, "its server has no such bitmap of changes",
			    error);
	if (!export.read_only)
		return fail(pool,
			    "its bitmap of changes may change, because the "
			    "export can be written; have its server export it "
			    "read-only",
			    error);
	if (export.size != bsp_changes_size(changes))
		return fail(pool, "its size has changed", error);
	source = g_new0(struct source, 1);
	*source = (struct source){ { check, free_source }, pool, generation };
	bsp_changes_set_source(changes, &source->source);
	return read_all(pool, changes, error) && check(&source->source, error);
}
