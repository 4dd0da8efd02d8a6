/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asks mounts of blksparsefs what their files do. A mount whose driver does not
 * answer costs ASK_SECONDS once, and delays no other.
 */
#ifndef ASK_H
#define ASK_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "blksparse-ioctl.h"

enum { ASK_SECONDS = 2 };
#define ASK_US (ASK_SECONDS * (gint64)G_USEC_PER_SEC)

/* A mount, with all places at which this program sees it. */
struct ask_mount {
	char *device;	  /* st_dev of its files, as "major:minor" */
	dev_t number;	  /* the same */
	GPtrArray *where; /* char *; the first is the name of the mount */
};

/* The mounts of blksparsefs that this program sees, of struct ask_mount *, to
 * be freed by g_ptr_array_unref(). NULL if the kernel does not list mounts. */
GPtrArray *ask_mounts(void);

/* The answer of a mount. */
struct ask_answer {
	dev_t number;  /* st_dev of its files */
	char *where;   /* its name: a path */
	bool is_file;  /* it is that of the only file, not of a folder */
	GArray *files; /* of struct bsp_ioctl_stat */
	char *error;   /* why files are missing; NULL: none is */
};

struct asker;

struct asker *asker_new(void);
void asker_free(struct asker *asker);

/*
 * Asks the mounts, all at once. Returns an array of struct ask_answer *, one
 * for each mount that is not covered by another one, to be freed by
 * g_ptr_array_unref(). The asker remembers the mounts that do not answer: the
 * next call does not wait for their answers, which may come in the meantime.
 */
GPtrArray *asker_ask(struct asker *asker, GPtrArray *mounts);

/* An object of the file system, as stat(2) shows it. */
struct ask_object {
	int error; /* errno of the look; 0: the rest is set */
	mode_t mode;
	dev_t file_system, device;
	ino_t inode;
};

/* Looks at the object at path, but not for longer than ASK_SECONDS: error is
 * then ETIMEDOUT. */
struct ask_object ask_object(const char *path);

/* An error of this file, an errno, in words. */
const char *ask_explain(int error);

#endif
