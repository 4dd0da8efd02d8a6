/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interruption of the present work of a thread. A wait deep below, such as
 * the one for a network server that does not answer, asks here whether to give
 * up, and the functions between need no parameter for it.
 *
 * bsp_interrupt_set() of blksparse-thread.h tells what to ask, and
 * bsp_interrupt_swap() for the duration of one call of the library.
 *
 * Threads: each thread has its own.
 */
#ifndef BSP_BASE_INTERRUPT_H
#define BSP_BASE_INTERRUPT_H

#include "blksparse.h"

enum {
	/* A wait asks this often, in milliseconds. */
	BSP_INTERRUPT_MS = 50,
	/* The patience of a call whose object can be used after it was
	 * interrupted. */
	BSP_PATIENCE_MS = 500,
};

struct bsp_interrupt {
	bsp_interrupted_fn interrupted; /* NULL: no wait is interrupted */
	void *data;
	/*
	 * An interrupt ends all use of the device, as that of a copy does. Then
	 * an interrupted wait may end the device's connections, and so get its
	 * buffer back, which saves a copy of the bytes.
	 */
	bool ends;
	/* A wait goes on for so long after an interrupt, milliseconds: a device
	 * that answers by then stays in use. */
	unsigned patience_ms;
};

/* Sets the interruption of this thread. Returns the one before. */
struct bsp_interrupt bsp_interrupt_swap(struct bsp_interrupt next);

/* Whether waits of this thread can be interrupted. */
bool bsp_interrupt_is_set(void);

/* Whether an interrupted wait may end the device's connections. */
bool bsp_interrupt_ends(void);

/* Whether the present wait of this thread is to end with -EINTR. */
bool bsp_interrupted(void);

#endif
