/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Questions about other devices and files of the machine, which may never be
 * answered: a file on a server that is gone makes stat(2) wait, often where no
 * signal ends it. A child process asks, so that this one can go on.
 *
 * A thread would not do: one that waits in the kernel keeps its process, with
 * all that it has open, from ending.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_ASK_H
#define BSP_DEVICE_ASK_H

#include <stddef.h>
#include <sys/types.h>

struct bsp_answer {
	int r;	   /* 0, -errno, or -ETIMEDOUT: there was no answer */
	dev_t dev; /* st_dev and st_ino of a file, as of stat(2) */
	ino_t ino;
	dev_t rdev; /* st_rdev, if it is a block device; otherwise 0 */
};

/*
 * Answers question i. It runs in a process that was forked from one that may
 * have threads, so it calls only what signal-safety(7) lists, and system calls.
 */
typedef struct bsp_answer (*bsp_ask_fn)(const void *questions, size_t i);

/*
 * Answers questions [0, n), in one child process if none hangs. The first that
 * hangs costs 2 s, each later one less, down to 20 ms. Asks in this process,
 * without a limit of time, where there can be no child.
 *
 * The child has nothing open but what the questions open, and no lock. This
 * process has no child more when it returns; one that cannot be killed yet is
 * init's by then, and ends when the kernel lets it.
 */
void bsp_ask_in_child(bsp_ask_fn ask, const void *questions, size_t n,
		      struct bsp_answer *ret_answers);

/* A question for it, of an array of paths (const char *): which file is it? */
struct bsp_answer bsp_ask_path(const void *paths, size_t i);

#endif
