/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where messages go is one of the two things here that are global: libfuse
 * calls its log function without any data of ours. (The other is a signal
 * handler that does nothing, in stop.c.)
 */
#include "log.h"

#include <fuse_lowlevel.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define PROGRAM "blksparsefs"

enum { LINE_MAX_BYTES = 1024 };

static atomic_bool use_syslog, show_debug;

static void log_text(int priority, const char *text)
{
	if (atomic_load(&use_syslog))
		syslog(priority, "%s", text);
	else
		(void)fprintf(stderr, PROGRAM ": %s\n", text);
}

static void G_GNUC_PRINTF(2, 0)
	log_valist(int priority, const char *format, va_list args)
{
	char text[LINE_MAX_BYTES];

	if (priority == LOG_DEBUG && !atomic_load(&show_debug))
		return;
	(void)vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	if (text[0])
		log_text(priority, text);
}

void log_line(int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_valist(priority, format, args);
	va_end(args);
}

/* The levels of libfuse are the priorities of syslog. */
static void G_GNUC_PRINTF(2, 0)
	log_fuse(enum fuse_log_level level, const char *format, va_list args)
{
	log_valist((int)level, format, args);
}

void log_init(void)
{
	fuse_set_log_func(log_fuse);
}

void log_to_syslog(void)
{
	openlog(PROGRAM, LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

void log_debug_too(void)
{
	atomic_store(&show_debug, true);
}
