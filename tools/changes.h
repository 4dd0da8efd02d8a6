/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The changes that another system knows, for blksparse copy and blksparse send:
 * the options --changes, --since-device and --fall-back.
 */
#ifndef CHANGES_H
#define CHANGES_H

#include "blksparse.h"

extern const GOptionEntry changes_entries[];

/* Whether the user gave such an option. */
bool changes_wanted(void);

/* Whether the user gave --fall-back. */
bool changes_can_fall_back(void);

/* Checks that the options go together. Returns an exit status. */
int changes_check_options(void);

/* Opens the source of a transfer, so that its changes can be asked for. */
struct bsp_device *changes_open_device(const char *path, GError **error);

/*
 * Gets the changes of sp: NULL if none are wanted. If they cannot be had and
 * the user gave --fall-back, it warns, and *ret_fell_back is true. Returns
 * false and an error otherwise.
 */
bool changes_open(struct bsp_sparse *sp, struct bsp_changes **ret_changes,
		  bool *ret_fell_back, GError **error);

#endif
