/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interface between report.c and the report formats, each of which is a
 * file of its own.
 *
 * report.c walks the source, aligns and merges the extents, and passes them to
 * the format one by one. The format turns each into text and writes it by
 * bsp_report_printf() or bsp_report_puts(). No list of extents is ever kept: a
 * report of 10 million extents takes no more memory than an empty one.
 *
 * Pure: no system calls. To add a format, write its struct bsp_report_format
 * and add it to the table in report.c and to enum bsp_format.
 */
#ifndef BSP_REPORT_REPORT_H
#define BSP_REPORT_REPORT_H

#include "blksparse.h"

enum { BSP_EXTENT_TYPES = BSP_EXTENT_UNKNOWN + 1 };

/* One report while it is written. */
struct bsp_report_output {
	const struct bsp_report *report;
	uint32_t granule; /* of the report, or of the format if that is 0 */
	/* Totals of the extents so far, by enum bsp_extent_type. */
	uint64_t bytes[BSP_EXTENT_TYPES];
	uint64_t extents[BSP_EXTENT_TYPES];
	GChecksum *checksum; /* if set: of all text written so far */
	bsp_write_fn write;
	void *data;
};

/* A format. Its functions return 0 or -errno. */
struct bsp_report_format {
	const char *name;
	uint32_t granule;   /* the default, if the report's is 0 */
	bool has_summary;   /* can write the totals alone */
	bool tells_unknown; /* if not, unknown becomes data */
	bool needs_content; /* cannot describe an empty file */
	int (*begin)(struct bsp_report_output *out);
	/* Writes the next extent, which is aligned and differs in type from
	 * the previous one; the totals do not count it yet. Not called for a
	 * summary. */
	int (*extent)(struct bsp_report_output *out,
		      const struct bsp_extent *extent);
	int (*end)(struct bsp_report_output *out);
	/* Frees what begin allocated, also after a failure; may be NULL. */
	void (*done)(struct bsp_report_output *out);
};

extern const struct bsp_report_format bsp_report_table, bsp_report_json,
	bsp_report_qemu, bsp_report_bmap, bsp_report_ddrescue;

/* Writes a line of at most 255 bytes to the report. */
int bsp_report_printf(struct bsp_report_output *out, const char *format, ...)
	G_GNUC_PRINTF(2, 3);

/* Writes text of any length. */
int bsp_report_puts(struct bsp_report_output *out, const char *text);

/* "data", "hole", "unknown". */
const char *bsp_extent_type_name(enum bsp_extent_type type);

/* Has no extent been written yet? */
bool bsp_report_at_first(const struct bsp_report_output *out);

#endif
