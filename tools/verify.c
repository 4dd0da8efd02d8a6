/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A layer that is wrong once may be wrong a million times: the first parts are
 * printed, and the others counted.
 */
#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "interrupt.h"
#include "layers.h"
#include "message.h"
#include "progress.h"

enum { LINES = 20 };

struct verify {
	struct progress progress;
	const char *path;
	uint64_t holes;
	uint64_t parts, bytes; /* that are not zero */
};

static void print_part(const struct verify *verify,
		       const struct bsp_false_hole *hole)
{
	g_autofree char *layer = hole->layer ? layer_text(hole->layer) : NULL;

	if (hole->error)
		failure("%s: %" PRIu64 " bytes of a hole at %" PRIu64
			" cannot be read: %s",
			verify->path, hole->len, hole->off,
			g_strerror(-hole->error));
	else if (layer)
		failure("%s: %" PRIu64 " bytes at %" PRIu64
			" are not zero; %s says that they are",
			verify->path, hole->len, hole->off, layer);
	else
		failure("%s: %" PRIu64 " bytes at %" PRIu64
			" are not zero; they were read as zeros before",
			verify->path, hole->len, hole->off);
}

/* A bsp_false_hole_fn. */
static void on_false_hole(void *data, const struct bsp_false_hole *hole)
{
	struct verify *verify = data;

	verify->parts++;
	verify->bytes += hole->len;
	if (verify->parts > LINES)
		return;
	progress_clear(&verify->progress);
	print_part(verify, hole);
}

static void on_progress(void *data, const struct bsp_progress *now)
{
	struct verify *verify = data;

	progress_update(&verify->progress, now->done, verify->holes);
}

static int report_error(const struct verify *verify, int r)
{
	if (r == -ECANCELED)
		return failure("%s: interrupted", verify->path);
	if (r == -ESTALE)
		return failure("%s: cannot verify the holes: another program "
			       "wrote to it meanwhile, or may have; try again",
			       verify->path);
	return failure("%s: %s", verify->path, g_strerror(-r));
}

static int report_end(const struct verify *verify, bool verbose)
{
	g_autofree char *holes = size_text(verify->holes);

	if (verify->parts)
		return failure("%s: %" PRIu64
			       " bytes of %s in holes are false, "
			       "in %" PRIu64 " part%s",
			       verify->path, verify->bytes, holes,
			       verify->parts, verify->parts == 1 ? "" : "s");
	if (verbose)
		(void)fprintf(stderr, "%s: verified, %s in holes are zero\n",
			      verify->path, holes);
	return STATUS_OK;
}

int verify_holes(struct bsp_sparse *sp, struct bsp_extent_source source,
		 const char *path, uint64_t holes, bool verbose)
{
	struct verify verify = { .path = path, .holes = holes };
	int r;

	progress_begin(&verify.progress, 0, false);
	r = bsp_sparse_verify(sp, source, on_false_hole, interrupted,
			      on_progress, &verify);
	progress_clear(&verify.progress);
	return r < 0 ? report_error(&verify, r) : report_end(&verify, verbose);
}
