/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lines for people: to stderr with the program's name before each, or, from
 * log_to_syslog() on, to syslog. Any thread.
 */
#ifndef BLKSPARSEFS_LOG_H
#define BLKSPARSEFS_LOG_H

#include <glib.h>
#include <stdbool.h>

/* Also takes over the messages of libfuse. Before all others here. */
void log_init(void);

/* From here on no line is waited for: a thread writes them, as soon as they are
 * read. Not before a fork. */
void log_start(void);

/* Waits for the lines that are not out yet, half a second at most. What is
 * logged later may be lost. */
void log_end(void);

/* Lines so far go to stderr, if they can within half a second. */
void log_to_syslog(void);

/* Log lines of this syslog priority and of more important ones; LOG_NOTICE at
 * first. */
void log_set_level(int priority);

/* Whether lines of this priority are logged; one relaxed load. */
bool log_shows(int priority);

/* A debug line then waits for room in the queue, half a second at most, so that
 * a developer sees all of them. */
void log_keep_debug(void);

/* One line, without a newline; priority is one of syslog(3). */
void log_line(int priority, const char *format, ...) G_GNUC_PRINTF(2, 3);

#endif
