/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Questions about other devices and files of the machine, which may never be
 * answered: stat(2) of a file whose server is gone waits, often where no signal
 * ends it. A child process asks the questions, so that this process can go on.
 *
 * A thread is no substitute: a thread that waits in the kernel keeps its
 * process from ending, with all its open files.
 *
 * Threads: any.
 */
#ifndef BSP_DEVICE_ASK_H
#define BSP_DEVICE_ASK_H

#include <stddef.h>
#include <sys/types.h>

struct bsp_answer {
	int r;	   /* 0, -errno, or -ETIMEDOUT if there was no answer */
	dev_t dev; /* st_dev and st_ino of a file, as of stat(2) */
	ino_t ino;
	dev_t rdev; /* st_rdev, if it is a block device; otherwise 0 */
};

/*
 * Answers question i. It may run in a process that was forked from one with
 * threads, so it calls only functions that signal-safety(7) lists, and system
 * calls.
 */
typedef struct bsp_answer (*bsp_ask_fn)(const void *questions, size_t i);

/* How long to wait for an answer that is not needed. */
enum { BSP_ASK_PATIENCE_MS = 2000 };

/*
 * Answers questions [0, n), with one child process if none hangs. The first
 * question that hangs costs patience_ms, and each later one less, down to 20
 * ms. If no child can be started, asks in this process, without a time limit.
 *
 * The child holds no descriptor but those that the questions open, and no lock.
 * When this function returns, this process has no child left; one that cannot
 * be killed yet was passed to init, and ends when the kernel lets it.
 */
void bsp_ask_in_child(bsp_ask_fn ask, const void *questions, size_t n,
		      int patience_ms, struct bsp_answer *ret_answers);

/* A question: the stat(2) of path i in an array of paths (const char *). */
struct bsp_answer bsp_ask_path(const void *paths, size_t i);

#endif
