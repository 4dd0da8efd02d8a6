/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blksparse map --verify: reads the holes of a report again.
 */
#ifndef VERIFY_H
#define VERIFY_H

#include "blksparse.h"

/*
 * Reads the holes of source from the device or file of sp, which is at path,
 * and prints the parts that are not zero. holes is their sum in bytes. Prints a
 * line on success, too, if verbose. Returns an exit status.
 */
int verify_holes(struct bsp_sparse *sp, struct bsp_extent_source source,
		 const char *path, uint64_t holes, bool verbose);

#endif
