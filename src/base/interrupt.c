/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/interrupt.h"

#include "blksparse-thread.h"

static _Thread_local struct bsp_interrupt present;
static _Thread_local int64_t noticed; /* when the interrupt was; 0: not yet */

struct bsp_interrupt bsp_interrupt_swap(struct bsp_interrupt next)
{
	struct bsp_interrupt before = present;

	present = next;
	noticed = 0;
	return before;
}

void bsp_interrupt_set(bsp_interrupted_fn interrupted, void *data)
{
	(void)bsp_interrupt_swap((struct bsp_interrupt){ interrupted, data });
}

bool bsp_interrupt_is_set(void)
{
	return present.interrupted;
}

bool bsp_interrupt_ends(void)
{
	return present.interrupted && present.ends;
}

bool bsp_interrupted(void)
{
	int64_t now;

	if (!present.interrupted || !present.interrupted(present.data))
		return false;
	now = g_get_monotonic_time();
	if (!noticed)
		noticed = now;
	return now - noticed >= (int64_t)present.patience_ms * 1000;
}
