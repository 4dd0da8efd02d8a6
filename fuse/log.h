/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages to the user: to stderr, with the program's name before each line, or
 * to syslog(3) after log_to_syslog(). Any thread may log. No caller waits for a
 * reader of the messages: see log.c.
 */
#ifndef BLKSPARSEFS_LOG_H
#define BLKSPARSEFS_LOG_H

#include <glib.h>
#include <stdbool.h>

/* Call it first. Also takes over the messages of libfuse. */
void log_init(void);

/* Starts the thread that writes the lines; no caller of log_line() waits from
 * now on. Call it after a fork. */
void log_start(void);

/* Waits for the remaining lines, half a second at most. Later lines may be
 * lost. */
void log_end(void);

/* Sends later lines to syslog. Earlier ones still go to stderr, if that takes
 * them within half a second. */
void log_to_syslog(void);

/* Log lines of this syslog priority and of more important ones; LOG_NOTICE at
 * first. */
void log_set_level(int priority);

/* While on, lines of libfuse have LOG_DEBUG: for a call whose failure the
 * caller reports itself. */
void log_demote_libfuse(bool on);

/* Whether lines of this priority are logged; costs one relaxed load. */
bool log_shows(int priority);

/* Has a debug line wait for room in the queue, half a second at most, so that a
 * developer sees all lines. */
void log_keep_debug(void);

/* Logs one line, without a newline at its end. priority is one of syslog(3). */
void log_line(int priority, const char *format, ...) G_GNUC_PRINTF(2, 3);

#endif
