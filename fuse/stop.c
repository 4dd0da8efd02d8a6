/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread waits for the signals that end the program, instead of libfuse's
 * signal handlers, for two reasons. The loop of libfuse 3.14 checks whether to
 * end and then waits; a signal between the two is lost, and the mount stays.
 * Here the loop is woken until it has ended. And if a device hangs, the loop
 * would wait for its request for ever. Here the mount is detached after some
 * seconds, its readers get an error, and the program ends as far as the kernel
 * allows; a writable mount waits instead.
 *
 * The order of the end: long scans are told to reply; the watches end; the loop
 * ends, and with it all handlers; main() unmounts and closes. A watch may wait
 * for pages that are being read, so requests must be served as long as a watch
 * runs: if the loop ended before, new readers would hold the watch for ever.
 */
#include "stop.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "blksparse-thread.h"
#include "figures.h"
#include "hangs.h"
#include "log.h"
#include "watch.h"

enum {
	STEP_MS = 20,
	PATIENCE_MS = 5000,
	LAST_MS = 1000, /* for the loop, if the watches did not end */
	FIGURES_SIGNAL = SIGUSR1,
	/* SIGUSR1 has a meaning for users. */
	WAKE_SIGNAL = SIGUSR2,
};

static void wake_handler(int sig)
{
}

static void set_handler(int sig, void (*handler)(int))
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = handler;
	(void)sigaction(sig, &action, NULL);
}

void stop_init(struct stopper *stopper, bool patient)
{
	struct sigaction old;

	stopper->patient = patient;
	pthread_mutex_init(&stopper->lock, NULL);
	sigemptyset(&stopper->signals);
	sigaddset(&stopper->signals, SIGTERM);
	/* The shell has background jobs of a script ignore SIGINT. */
	sigaddset(&stopper->signals, SIGINT);
	set_handler(SIGINT, SIG_DFL);
	/* nohup(1) has its program ignore SIGHUP. */
	if (sigaction(SIGHUP, NULL, &old) || old.sa_handler != SIG_IGN)
		sigaddset(&stopper->signals, SIGHUP);
	sigaddset(&stopper->signals, FIGURES_SIGNAL);
	pthread_sigmask(SIG_BLOCK, &stopper->signals, NULL);
	set_handler(WAKE_SIGNAL, wake_handler);
}

static void log_figures(struct stopper *stopper)
{
	pthread_mutex_lock(&stopper->lock);
	if (stopper->has_files)
		figures_log(stopper->tree, stopper->in_flight);
	pthread_mutex_unlock(&stopper->lock);
}

static void log_hangs(struct stopper *stopper)
{
	pthread_mutex_lock(&stopper->lock);
	if (stopper->has_files)
		hangs_log(stopper->tree, stopper->in_flight);
	pthread_mutex_unlock(&stopper->lock);
}

/* Waits for a signal that ends the program, and returns it. */
static int wait_for_end(struct stopper *stopper)
{
	const struct timespec look = { .tv_sec = HANGS_SECONDS };

	for (;;) {
		int sig = sigtimedwait(&stopper->signals, NULL, &look);

		if (sig == FIGURES_SIGNAL)
			log_figures(stopper);
		else if (sig > 0)
			return sig;
		else
			log_hangs(stopper);
	}
}

/* Further signals that end the program change nothing: it is ending. */
static void sleep_one_step(struct stopper *stopper)
{
	const struct timespec step = { .tv_nsec = STEP_MS * 1000000L };
	sigset_t figures;

	sigemptyset(&figures);
	sigaddset(&figures, FIGURES_SIGNAL);
	if (sigtimedwait(&figures, NULL, &step) == FIGURES_SIGNAL)
		log_figures(stopper);
}

static void stop_watch(struct file *file, void *data)
{
	bool *running = data;

	watch_stop(file->watch);
	*running |= watch_running(file->watch);
}

/* Asks the watches to end. True once they have, or once main() ends them. */
static bool stop_watches(struct stopper *stopper)
{
	bool running = false;

	pthread_mutex_lock(&stopper->lock);
	if (stopper->looping)
		tree_each(stopper->tree, stop_watch, &running);
	pthread_mutex_unlock(&stopper->lock);
	return !running;
}

/* Wakes the loop so that it sees that it must end. */
static void stop_loop(struct stopper *stopper)
{
	pthread_mutex_lock(&stopper->lock);
	if (stopper->looping) {
		fuse_session_exit(stopper->se);
		(void)pthread_kill(stopper->main, WAKE_SIGNAL);
	}
	pthread_mutex_unlock(&stopper->lock);
}

/* True once the watches have ended; false after PATIENCE_MS. */
static bool wait_for_watches(struct stopper *stopper)
{
	for (int ms = 0; stopper->patient || ms < PATIENCE_MS; ms += STEP_MS) {
		if (stop_watches(stopper))
			return true;
		sleep_one_step(stopper);
	}
	return false;
}

static void *stop_main(void *data)
{
	struct stopper *stopper = data;
	int connection = fuse_session_fd(stopper->se);
	GError *error = NULL;
	int sig = wait_for_end(stopper), limit;

	atomic_store(&stopper->stopping, true);
	/* stop_end() also sends a signal. */
	if (!atomic_load(&stopper->ended))
		log_line(LOG_INFO, "signal %d: unmounting %s", sig,
			 stopper->mountpoint->path);
	limit = wait_for_watches(stopper) ? PATIENCE_MS : LAST_MS;
	for (int ms = 0; stopper->patient || ms < limit; ms += STEP_MS) {
		if (atomic_load(&stopper->ended))
			return NULL;
		stop_loop(stopper);
		sleep_one_step(stopper);
	}
	log_line(
		LOG_ERR,
		"a device does not answer; %s is detached, and its readers get an error",
		stopper->mountpoint->path);
	if (!mountpoint_unmount(stopper->mountpoint,
				mountpoint_is_dead(connection), connection,
				&error))
		log_line(LOG_ERR, "%s", error->message);
	log_end();
	_exit(EXIT_FAILURE);
}

int stop_start(struct stopper *stopper, struct fuse_session *se,
	       const struct tree *tree, struct in_flight *in_flight,
	       const struct mountpoint *mountpoint)
{
	int r;

	stopper->se = se;
	stopper->tree = tree;
	stopper->mountpoint = mountpoint;
	stopper->main = pthread_self();
	stopper->in_flight = in_flight;
	stopper->looping = true;
	stopper->has_files = true;
	r = bsp_thread_start(&stopper->thread, stop_main, stopper);
	stopper->started = r == 0;
	return r;
}

void stop_loop_ended(struct stopper *stopper)
{
	pthread_mutex_lock(&stopper->lock);
	stopper->looping = false;
	pthread_mutex_unlock(&stopper->lock);
}

void stop_files_end(struct stopper *stopper)
{
	pthread_mutex_lock(&stopper->lock);
	stopper->has_files = false;
	pthread_mutex_unlock(&stopper->lock);
}

void stop_end(struct stopper *stopper)
{
	atomic_store(&stopper->ended, true);
	if (!stopper->started)
		return;
	/* The thread waits for this signal. */
	/* NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread,cert-pos44-c) */
	(void)pthread_kill(stopper->thread, SIGTERM);
	(void)pthread_join(stopper->thread, NULL);
	stopper->started = false;
}
