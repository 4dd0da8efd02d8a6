/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The interface between report.c and the report formats, each of which is a
 * file of its own.
 *
 * report.c walks the source, aligns and merges the extents, and passes them to
 * the format one by one. The format turns each into text and writes it by
 * bsp_report_printf() or bsp_report_puts(), or counts it in the cells of a
 * picture (cells.h), which is drawn at the end. No list of extents is ever
 * kept: a report of 10 million extents takes no more memory than an empty one.
 *
 * Pure: no system calls (but cairo loads fonts, see png.c). To add a format,
 * write its struct bsp_report_format and add it to the table in report.c and to
 * enum bsp_format.
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
	void *state;	     /* of the format */
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
	bool skips_same;    /* leaves out what does not differ */
	/* Loads what the format needs, the first time; may be NULL. */
	bool (*load)(GError **error);
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
	bsp_report_qemu, bsp_report_bmap, bsp_report_ddrescue, bsp_report_plot,
	bsp_report_svg, bsp_report_png;

/* Writes a line of at most 255 bytes to the report. */
int bsp_report_printf(struct bsp_report_output *out, const char *format, ...)
	G_GNUC_PRINTF(2, 3);

/* Writes text of any length. */
int bsp_report_puts(struct bsp_report_output *out, const char *text);

/* "data", "hole", "unknown"; "differs", "same" in a report of differences. */
const char *bsp_report_type_name(const struct bsp_report_output *out,
				 enum bsp_extent_type type);

/* Room for "18446744073709551615" and "1023.9 KiB" alike. */
enum { BSP_SIZE_TEXT_LEN = 24 };

/* 1536 is "1.5 KiB". Tenths are truncated: 1023.99 KiB is "1023.9 KiB". */
const char *bsp_report_size_text(uint64_t bytes, char text[BSP_SIZE_TEXT_LEN]);

/* The offset on a scale with this step, exactly: all offsets of a scale have
 * the same unit. The step is one bit, or two that are neighbours, so that no
 * offset needs more than a half of the unit. */
const char *bsp_report_offset_text(uint64_t off, uint64_t step,
				   char text[BSP_SIZE_TEXT_LEN]);

/* The share in tenths of a percent; 0 and 1000 only where they are exact. */
unsigned bsp_report_share(uint64_t part, uint64_t whole);

/* Are there totals of this type? Always of data and holes. */
bool bsp_report_tells(const struct bsp_report_output *out,
		      enum bsp_extent_type type);

/* Returns a line with the totals of a type, and one with the size, as the table
 * has them; with a line feed. To be freed by g_free(). */
char *bsp_report_total_text(const struct bsp_report_output *out,
			    enum bsp_extent_type type);
char *bsp_report_whole_text(const struct bsp_report_output *out);

/* Returns a text that does nothing to a terminal: characters that cannot be
 * printed, and with ascii all others that are not ASCII, become '?'. To be
 * freed by g_free(). */
char *bsp_report_printable(const char *text, bool ascii);

/* Returns the names of the objects of a report, which can be printed as the
 * above. To be freed by g_free(). */
char *bsp_report_title(const struct bsp_report *report, bool ascii);

/* The drawing of a report, or the default. */
const struct bsp_drawing *bsp_report_drawing(const struct bsp_report *report);

/* Has no extent been written yet? */
bool bsp_report_at_first(const struct bsp_report_output *out);

#endif
