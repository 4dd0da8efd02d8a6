/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random ranges and bytes of operations on a file, for programs that compare it
 * with a shadow. They seek the cases in which a map of granules may be wrong:
 * parts of granules, their borders, the end of the file, and many operations
 * near one place.
 */
#ifndef CHOICES_H
#define CHOICES_H

#include "../unit/dice.h"

struct choices {
	struct dice dice;
	uint64_t granule; /* bytes */
	uint64_t longest; /* bytes of a range */
	uint64_t hot;	  /* many ranges are near it */
};

/* Picks a range inside [from, end); false if that is empty. Many are near hot,
 * or near edge. */
bool choose_range(struct choices *choices, uint64_t from, uint64_t end,
		  uint64_t edge, uint64_t *ret_off, uint64_t *ret_len);

/* Fills buf with bytes, none of which is zero. */
void choose_data(struct choices *choices, char *buf, uint64_t len);

/* Fills buf with zeros, data, one byte of data, or a mix whose borders often
 * are those of granules. The buffer is for offset off. */
void choose_bytes(struct choices *choices, char *buf, uint64_t len,
		  uint64_t off);

#endif
