/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Comparing samples of a device. Pure: the clocks are arguments.
 *
 * A field that one of two samples lacks says nothing: the kernel may be older
 * than the field, or the sample may be a cheap one. So only fields that both
 * have are compared, and an update keeps the fields that the new sample lacks.
 */
#include "device/identity.h"

#include <string.h>

#define SECOND_NS INT64_C(1000000000)

static bool differs(uint64_t was, uint64_t now)
{
	return was && now && was != now;
}

enum bsp_medium_change bsp_medium_compare(const struct bsp_medium *was,
					  const struct bsp_medium *now)
{
	bool files = was->file_ino && now->file_ino;

	if (differs(was->sequence, now->sequence))
		return BSP_MEDIUM_OTHER;
	if (files &&
	    (was->file_dev != now->file_dev || was->file_ino != now->file_ino ||
	     was->file_off != now->file_off))
		return BSP_MEDIUM_OTHER;
	if (differs(was->connection, now->connection))
		return BSP_MEDIUM_CONNECTION;
	return differs(was->table, now->table) ||
			       differs(was->layers, now->layers)
		       ? BSP_MEDIUM_TABLE
		       : BSP_MEDIUM_SAME;
}

void bsp_medium_update(struct bsp_medium *medium, const struct bsp_medium *now)
{
	if (now->sequence)
		medium->sequence = now->sequence;
	if (now->file_ino) {
		medium->file_dev = now->file_dev;
		medium->file_ino = now->file_ino;
		medium->file_off = now->file_off;
	}
	if (now->table)
		medium->table = now->table;
	if (now->layers)
		medium->layers = now->layers;
	if (now->connection)
		medium->connection = now->connection;
}

uint64_t bsp_hash(uint64_t hash, const void *text, size_t size)
{
	const unsigned char *bytes = text;

	if (!hash)
		hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash ? hash : 1;
}

bool bsp_content_equal(const struct bsp_content *a, const struct bsp_content *b)
{
	return a->counted && b->counted &&
	       memcmp(a->value, b->value, sizeof(a->value)) == 0;
}

static int64_t ns_of(const struct timespec *at)
{
	return (int64_t)at->tv_sec * SECOND_NS + at->tv_nsec;
}

static bool is_old(int64_t ns)
{
	return ns >= BSP_SETTLE_SECONDS * SECOND_NS;
}

bool bsp_settle(struct bsp_settling *settling, const struct timespec *changed,
		int64_t realtime_ns, int64_t boottime_ns)
{
	int64_t steady_ns;

	if (!settling->seen)
		settling->ahead_ns = realtime_ns - boottime_ns;
	if (!settling->seen || ns_of(&settling->changed) != ns_of(changed)) {
		settling->seen = true;
		settling->changed = *changed;
		settling->seen_ns = boottime_ns;
	}
	steady_ns = boottime_ns + settling->ahead_ns;
	return is_old(boottime_ns - settling->seen_ns) ||
	       (is_old(realtime_ns - ns_of(changed)) &&
		is_old(steady_ns - ns_of(changed)));
}
