/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the report formats share. export.c walks the source, makes its extents
 * fit the format (aligned, merged, in order, partitioning the file) and hands
 * them over one by one, so that nobody ever holds them all; a format turns
 * them into text by bsp_report_printf().
 *
 * Pure: no system calls. A report of 10 million extents needs no more memory
 * than one of none.
 */
#ifndef BSP_REPORT_REPORT_H
#define BSP_REPORT_REPORT_H

#include "blksparse.h"

enum { BSP_EXTENT_TYPES = BSP_EXTENT_UNKNOWN + 1 };

/* One report while it is written. */
struct bsp_report_output {
	const struct bsp_report *report;
	uint32_t granule; /* the report's, or the format's where it has none */
	/* What the format was given so far, by enum bsp_extent_type. */
	uint64_t bytes[BSP_EXTENT_TYPES];
	uint64_t extents[BSP_EXTENT_TYPES];
	GChecksum *checksum; /* if set: of all that was written */
	bsp_write_fn write;
	void *data;
};

/* A format. Its functions return 0 or -errno. */
struct bsp_report_format {
	const char *name;
	uint32_t granule;   /* where the report's is 0 */
	bool has_summary;   /* can leave the extents out */
	bool tells_unknown; /* otherwise unknown is data */
	bool needs_content; /* cannot describe an empty file */
	int (*begin)(struct bsp_report_output *out);
	/* The next extent, aligned; the totals count those before it. Two that
	 * follow each other differ in type. Not called for a summary. */
	int (*extent)(struct bsp_report_output *out,
		      const struct bsp_extent *extent);
	int (*end)(struct bsp_report_output *out);
	void (*done)(struct bsp_report_output
			     *out); /* also after a failure; or NULL */
};

extern const struct bsp_report_format bsp_report_table, bsp_report_json,
	bsp_report_qemu, bsp_report_bmap, bsp_report_ddrescue;

/* To the report; for bounded lines, up to 255 bytes. */
int bsp_report_printf(struct bsp_report_output *out, const char *format, ...)
	G_GNUC_PRINTF(2, 3);

/* Text of any length. */
int bsp_report_puts(struct bsp_report_output *out, const char *text);

/* "data", "hole", "unknown". */
const char *bsp_extent_type_name(enum bsp_extent_type type);

/* Is nothing written of the extents yet? */
bool bsp_report_at_first(const struct bsp_report_output *out);

#endif
