/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log is global, because libfuse calls its log function without user data.
 * (The only other global is a signal handler that does nothing, in stop.c.)
 *
 * syslog(3) waits for a daemon that does not read, and a write waits for a pipe
 * that is full. Neither may delay a request, a watch or the end of the mount.
 * So one thread writes the lines, and all other threads put them into a queue.
 * A line is lost, and counted, if the queue is full. Before log_start() each
 * thread writes its own lines.
 */
#include "log.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "blksparse-mount.h"
#include "blksparse-thread.h"

#define PROGRAM "blksparsefs"

enum {
	LINE_MAX_BYTES = 1024,
	LINES = 128,
	/* The rest of the queue is for more important lines. */
	DEBUG_LINES = LINES / 4 * 3,
	WAIT_MS = 500, /* longest wait for the queue */
};

struct line {
	int priority;
	char text[LINE_MAX_BYTES];
};

static atomic_bool use_syslog;
/* The least important syslog priority that is logged. */
static atomic_int threshold = LOG_NOTICE;
/* A debug line waits for room in the queue. */
static atomic_bool keep_debug;
/* Log lines of libfuse as debug lines. */
static atomic_bool demote_libfuse;

static struct {
	pthread_mutex_t lock;	/* a leaf lock; not held while writing a line */
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	pthread_t thread;	/* fixed after log_start() */

	/* Protected by lock. */
	bool started; /* the log thread takes lines from the queue */
	bool ending;
	bool ended;
	bool writing; /* the log thread is writing a line */
	bool stuck; /* a wait for room failed, and no line was written since */
	unsigned long n_lost;
	size_t first, n; /* the waiting lines; wraps around */
	struct line lines[LINES];
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void write_line(int priority, const char *text)
{
	char out[sizeof(PROGRAM ": \n") + LINE_MAX_BYTES];
	int n;

	if (atomic_load(&use_syslog)) {
		syslog(priority, "%s", text);
		return;
	}
	n = snprintf(out, sizeof(out), PROGRAM ": %s\n", text);
	/* No stdio: the end of the program may need its lock. */
	if (n > 0)
		(void)!write(STDERR_FILENO, out, (size_t)n);
}

/* --- The queue ----------------------------------------------------------- */

static bool is_empty(void)
{
	return queue.n == 0 && queue.n_lost == 0 && !queue.writing;
}

static bool has_room(void)
{
	return queue.n < LINES;
}

static bool has_debug_room(void)
{
	return queue.n < DEBUG_LINES;
}

static bool has_ended(void)
{
	return queue.ended;
}

/* Waits for the condition, at most WAIT_MS. Returns whether it holds. lock
 * held. */
static bool wait_briefly(bool (*condition)(void))
{
	struct timespec end = bsp_cond_limit(WAIT_MS);

	while (!condition()) {
		if (pthread_cond_timedwait(&queue.changed, &queue.lock, &end) ==
		    ETIMEDOUT)
			return condition();
	}
	return true;
}

/* False if no thread would write the line. */
static bool enqueue(int priority, const char *text)
{
	bool (*room)(void) = priority == LOG_DEBUG ? has_debug_room : has_room;
	struct line *line;
	bool started;

	pthread_mutex_lock(&queue.lock);
	started = queue.started;
	if (started && priority == LOG_DEBUG && !queue.stuck &&
	    atomic_load(&keep_debug))
		queue.stuck = !wait_briefly(room);
	if (started && room()) {
		line = &queue.lines[(queue.first + queue.n++) % LINES];
		line->priority = priority;
		(void)g_strlcpy(line->text, text, sizeof(line->text));
		pthread_cond_broadcast(&queue.changed);
	} else if (started) {
		queue.n_lost++;
	}
	pthread_mutex_unlock(&queue.lock);
	return started;
}

/* Waits for the next line to write; false at the end. Lost lines would have
 * come after those in the queue, so the queue goes first. */
static bool dequeue(struct line *ret)
{
	bool there;

	pthread_mutex_lock(&queue.lock);
	queue.writing = false;
	pthread_cond_broadcast(&queue.changed);
	while (is_empty() && !queue.ending)
		pthread_cond_wait(&queue.changed, &queue.lock);
	there = !is_empty();
	queue.writing = there;
	queue.stuck = false;
	if (queue.n > 0) {
		*ret = queue.lines[queue.first];
		queue.first = (queue.first + 1) % LINES;
		queue.n--;
	} else if (there) {
		ret->priority = LOG_WARNING;
		(void)snprintf(
			ret->text, sizeof(ret->text),
			"%lu messages were lost here, because earlier ones were not read in time",
			queue.n_lost);
		queue.n_lost = 0;
	}
	pthread_mutex_unlock(&queue.lock);
	return there;
}

static void *log_main(void *data)
{
	struct line line;

	while (dequeue(&line))
		write_line(line.priority, line.text);
	pthread_mutex_lock(&queue.lock);
	queue.ended = true;
	queue.started = false;
	pthread_cond_broadcast(&queue.changed);
	pthread_mutex_unlock(&queue.lock);
	return NULL;
}

/* --- Lines from any thread ----------------------------------------------- */

static void G_GNUC_PRINTF(2, 0)
	log_valist(int priority, const char *format, va_list args)
{
	char text[LINE_MAX_BYTES];

	if (!log_shows(priority))
		return;
	(void)vsnprintf(text, sizeof(text), format, args);
	/* libfuse ends its lines itself. */
	if (g_str_has_suffix(text, "\n"))
		text[strlen(text) - 1] = '\0';
	bsp_make_printable(text);
	if (text[0] && !enqueue(priority, text))
		write_line(priority, text);
}

void log_line(int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_valist(priority, format, args);
	va_end(args);
}

/* libfuse's levels have the numbers of syslog's priorities. */
static void G_GNUC_PRINTF(2, 0)
	log_fuse(enum fuse_log_level level, const char *format, va_list args)
{
	log_valist(atomic_load(&demote_libfuse) ? LOG_DEBUG : (int)level,
		   format, args);
}

void log_init(void)
{
	bsp_cond_init(&queue.changed);
	fuse_set_log_func(log_fuse);
}

void log_start(void)
{
	bool started = bsp_thread_start(&queue.thread, log_main, NULL) == 0;

	pthread_mutex_lock(&queue.lock);
	queue.started = started;
	pthread_mutex_unlock(&queue.lock);
}

void log_end(void)
{
	bool started, ended;

	pthread_mutex_lock(&queue.lock);
	started = queue.started;
	queue.ending = true;
	pthread_cond_broadcast(&queue.changed);
	ended = started && wait_briefly(has_ended);
	pthread_mutex_unlock(&queue.lock);
	if (ended)
		(void)pthread_join(queue.thread, NULL);
	else if (started)
		(void)pthread_detach(queue.thread);
}

void log_to_syslog(void)
{
	pthread_mutex_lock(&queue.lock);
	if (queue.started)
		(void)wait_briefly(is_empty);
	pthread_mutex_unlock(&queue.lock);
	openlog(PROGRAM, LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

void log_set_level(int priority)
{
	atomic_store(&threshold, priority);
}

void log_demote_libfuse(bool on)
{
	atomic_store(&demote_libfuse, on);
}

bool log_shows(int priority)
{
	return priority <=
	       atomic_load_explicit(&threshold, memory_order_relaxed);
}

void log_keep_debug(void)
{
	atomic_store(&keep_debug, true);
}
