/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feeds any bytes to the reader of lists of changes and checks its guarantees
 * (change-map.h): changes ascend, do not overlap, and lie in the size; a list
 * that is taken is whole, and gives the same changes in whatever parts it
 * comes.
 *
 * The first byte of the input is not part of the list: it is the number of
 * bytes to feed at once (0: all).
 */
#include <stdlib.h>

#include "stream/change-map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { SIZE = 1 << 20 };

struct sum {
	uint64_t end;
	uint64_t bytes;
	uint64_t hash;
};

static void must(bool holds)
{
	if (!holds)
		abort();
}

static int add(void *data, uint64_t off, uint64_t len)
{
	struct sum *sum = data;

	must(len && off >= sum->end && off < SIZE && len <= SIZE - off);
	sum->end = off + len;
	sum->bytes += len;
	sum->hash = (sum->hash ^ off) * UINT64_C(0x100000001b3) + len;
	return 0;
}

/* Returns whether the list was taken. */
static bool run(const char *text, size_t len, size_t part, struct sum *ret_sum)
{
	struct bsp_change_map map;
	size_t at = 0;
	bool ok = true;

	*ret_sum = (struct sum){ 0 };
	bsp_change_map_init(&map, SIZE, add, ret_sum);
	while (ok && at < len) {
		size_t n = part && part < len - at ? part : len - at;

		ok = bsp_change_map_read(&map, text + at, n);
		at += n;
	}
	ok = bsp_change_map_end(&map);
	must(ok == !map.why);
	must(map.at <= len);
	must(map.bytes == ret_sum->bytes);
	must(!ok || (map.at == len && map.depth == 0));
	must(bsp_change_map_end(&map) == ok);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data + 1;
	struct sum whole, parts;
	bool taken;

	if (!len)
		return 0;
	taken = run(text, len - 1, 0, &whole);
	must(run(text, len - 1, data[0], &parts) == taken);
	must(whole.hash == parts.hash && whole.end == parts.end);
	return 0;
}
