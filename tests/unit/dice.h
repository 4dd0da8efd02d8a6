/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random numbers that depend on a seed alone (splitmix64), so that the seed of
 * a test that failed repeats its run.
 */
#ifndef DICE_H
#define DICE_H

#include <stdbool.h>
#include <stdint.h>

struct dice {
	uint64_t state;
};

static inline uint64_t dice_throw(struct dice *dice)
{
	uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Returns a number in [0, below); 0 if below is 0. */
static inline uint64_t dice_below(struct dice *dice, uint64_t below)
{
	uint64_t n = dice_throw(dice);

	return below ? n % below : 0;
}

/* Returns true in so many of 1000 throws. */
static inline bool dice_chance(struct dice *dice, unsigned per_mille)
{
	return dice_below(dice, 1000) < per_mille;
}

#endif
