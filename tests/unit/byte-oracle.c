/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The oracle's sets. An operation that succeeded narrows a set to one value;
 * one that failed, or a loss, adds values. A test that reads a value outside of
 * the set has found a wrong byte.
 */
#include "byte-oracle.h"

#include <glib.h>
#include <string.h>

#include "base/range.h"

enum { ZERO = 1 << 0, ANY = 0xffff };

static uint16_t only(unsigned char byte)
{
	return (uint16_t)(1U << byte);
}

struct oracle *oracle_new(uint64_t capacity, unsigned char junk)
{
	struct oracle *o = g_new0(struct oracle, 1);

	o->junk = only(junk);
	o->may = g_new0(uint16_t, capacity);
	o->below = g_new0(uint16_t, capacity);
	o->stale = g_new0(uint16_t, capacity);
	o->zeroed = g_new0(bool, capacity);
	o->touched = g_new0(bool, capacity);
	o->synced = g_malloc0(capacity);
	return o;
}

void oracle_free(struct oracle *o)
{
	g_free(o->may);
	g_free(o->below);
	g_free(o->stale);
	g_free(o->zeroed);
	g_free(o->touched);
	g_free(o->synced);
	g_free(o);
}

void oracle_loaded(struct oracle *o, uint64_t off, uint64_t end,
		   const unsigned char *bytes)
{
	for (uint64_t at = off; at < end; at++) {
		o->may[at] = o->below[at] = only(bytes[at]);
		o->stale[at] = 0;
		o->synced[at] = bytes[at];
		o->zeroed[at] = o->touched[at] = false;
	}
}

void oracle_wrote(struct oracle *o, uint64_t off, uint64_t end,
		  const unsigned char *buf)
{
	for (uint64_t at = off; at < end; at++) {
		uint16_t bit = only(buf ? buf[at - off] : 0);

		o->below[at] |= o->may[at] | o->stale[at] | bit;
		o->may[at] = bit;
		o->zeroed[at] = false;
		o->touched[at] = true;
	}
}

void oracle_write_failed(struct oracle *o, uint64_t off, uint64_t end,
			 const unsigned char *buf)
{
	for (uint64_t at = off; at < end; at++) {
		o->may[at] |= only(buf ? buf[at - off] : 0);
		o->below[at] |= o->may[at] | o->stale[at];
		o->zeroed[at] = false;
		o->touched[at] = true;
	}
}

void oracle_write_failed_past_end(struct oracle *o, uint64_t off, uint64_t end,
				  const unsigned char *buf)
{
	for (uint64_t at = off; at < end; at++)
		o->stale[at] |= only(buf[at - off]);
}

void oracle_zeroed(struct oracle *o, uint64_t off, uint64_t end)
{
	for (uint64_t at = off; at < end; at++) {
		o->stale[at] |= o->may[at] | o->below[at] | o->junk;
		o->may[at] = o->below[at] = ZERO;
		o->zeroed[at] = o->touched[at] = true;
	}
}

void oracle_hidden(struct oracle *o, uint64_t off, uint64_t end)
{
	oracle_zeroed(o, off, end);
	for (uint64_t at = off; at < end; at++)
		o->stale[at] = ANY;
}

void oracle_resized(struct oracle *o, uint64_t size)
{
	oracle_zeroed(o, bsp_min(o->size, size), bsp_max(o->size, size));
	o->size = size;
}

void oracle_touched(struct oracle *o, uint64_t off, uint64_t end)
{
	memset(o->touched + off, true, end - off);
}

void oracle_lost(struct oracle *o, uint64_t off, uint64_t end)
{
	for (uint64_t at = off; at < end; at++)
		o->may[at] |= o->below[at];
}

void oracle_synced(struct oracle *o, uint64_t off, unsigned char byte,
		   bool lost)
{
	if (!lost) {
		o->may[off] = o->below[off] = only(byte);
		o->stale[off] = 0;
	}
	o->synced[off] = byte;
	o->touched[off] = false;
}
