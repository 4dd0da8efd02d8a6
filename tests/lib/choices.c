/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "choices.h"

#include <string.h>

enum { PAGE = 4096 };

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t below(struct choices *choices, uint64_t n)
{
	return dice_below(&choices->dice, n);
}

static bool chance(struct choices *choices, unsigned percent)
{
	return dice_chance(&choices->dice, percent * 10);
}

/* --- Ranges --- */

static uint64_t choose_len(struct choices *choices, uint64_t room)
{
	uint64_t granule = choices->granule, len;

	switch (below(choices, 7)) {
	case 0:
		len = 1 + below(choices, 16);
		break;
	case 1:
		len = 1 + below(choices, 600);
		break;
	case 2:
		len = 1 + below(choices, PAGE);
		break;
	case 3:
		len = granule * (1 + below(choices, 4));
		break;
	case 4:
		len = 1 + below(choices, 3 * granule);
		break;
	case 5:
		len = 1 + below(choices, 65536);
		break;
	default:
		len = 1 + below(choices, choices->longest);
	}
	return least(least(len, choices->longest), room);
}

static uint64_t choose_off(struct choices *choices, uint64_t from, uint64_t end,
			   uint64_t edge)
{
	uint64_t granule = choices->granule, centre = edge;
	uint64_t kind = below(choices, 8);

	if (chance(choices, 4) || choices->hot < from || choices->hot >= end)
		choices->hot = from + below(choices, end - from);
	if (kind < 3)
		return from + below(choices, end - from);
	if (kind < 6)
		centre = choices->hot;
	centre += below(choices, 4 * granule);
	centre -= least(centre, 2 * granule);
	return least(most(from, centre), end - 1);
}

bool choose_range(struct choices *choices, uint64_t from, uint64_t end,
		  uint64_t edge, uint64_t *ret_off, uint64_t *ret_len)
{
	const uint64_t units[] = { 1, 512, PAGE, choices->granule };
	uint64_t unit = units[below(choices, 4)], off;

	if (end <= from)
		return false;
	off = choose_off(choices, from, end, edge);
	*ret_off = most(from, off / unit * unit);
	*ret_len = choose_len(choices, end - *ret_off);
	return true;
}

/* --- Bytes --- */

void choose_data(struct choices *choices, char *buf, uint64_t len)
{
	uint64_t value = dice_throw(&choices->dice);

	for (uint64_t i = 0; i < len; i++) {
		if (i % 64 == 0)
			value = value * UINT64_C(6364136223846793005) + 1;
		buf[i] = (char)((value >> (8 + i % 48)) | 1);
	}
}

static void choose_mix(struct choices *choices, char *buf, uint64_t len,
		       uint64_t off)
{
	uint64_t unit = choices->granule;

	for (uint64_t at = 0; at < len;) {
		uint64_t run = 1 + below(choices,
					 chance(choices, 50) ? unit * 4 : len);

		if (chance(choices, 60))
			run = unit - (off + at) % unit +
			      unit * below(choices, 3);
		run = least(run, len - at);
		if (chance(choices, 50))
			choose_data(choices, buf + at, run);
		at += run;
	}
}

/* The first or the last byte, or another one. */
static uint64_t choose_place(struct choices *choices, uint64_t len)
{
	switch (below(choices, 3)) {
	case 0:
		return 0;
	case 1:
		return len - 1;
	default:
		return below(choices, len);
	}
}

void choose_bytes(struct choices *choices, char *buf, uint64_t len,
		  uint64_t off)
{
	uint64_t kind = below(choices, 8);

	memset(buf, 0, len);
	if (kind < 3)
		choose_data(choices, buf, len);
	else if (kind == 3)
		buf[choose_place(choices, len)] = 'x';
	else if (kind < 6)
		choose_mix(choices, buf, len, off);
}
