/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What blksparse send and blksparse recv do alike: their common options, the
 * line of progress, and the summary.
 */
#ifndef TRANSFER_H
#define TRANSFER_H

#include "blksparse.h"
#include "progress.h"

/* The options, to be added to a command's own. */
extern const GOptionEntry transfer_entries[];

struct transfer {
	const char *command; /* send, recv */
	const char *path;
	bool json_to_stdout;
	int64_t started;
	struct progress progress;
};

/* Are the options given ones that go together? If not, an exit status. */
int transfer_check_options(void);

/*
 * Begins: catches Ctrl-C, and fills in the options with the format given, and
 * with progress and interrupts that work.
 */
void transfer_begin(struct transfer *transfer, const char *command,
		    const char *path, struct bsp_transfer_options *ret_options);

/*
 * It is over: the summary, if one is wanted. error is NULL if all went well;
 * otherwise it is not shown, but told in JSON. Returns an exit status: of the
 * writing of that.
 */
int transfer_end(struct transfer *transfer, const struct bsp_progress *done,
		 const GError *error);

/* The paths that were given are one path; if not, an exit status. */
int transfer_one_path(char **paths, const char *what);

#endif
