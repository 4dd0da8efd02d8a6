/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flushes zeros of a writable mount while signals arrive.
 *
 *   flusher FILE COUNT ACTION [SIGNALS]
 *
 * Punches every other 4 KiB out of the first 2 * COUNT of FILE, prints "ready",
 * and then does ACTION:
 *   fsync, close  that call; prints its name, and OK or the error
 *   exit          exits with FILE open, and status 0
 *   exit-beside   the same in a second thread, while the first one waits
 *   wait          waits for a signal that ends it, with FILE open
 * SIGNALS arrive all the time, about one each millisecond:
 *   restart       signals with a handler, installed with SA_RESTART
 *   interrupt     the same without SA_RESTART
 *   blocked       signals that stay pending, as they are blocked
 *   uring         no signals, but completions of an io_uring of the caller
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <unistd.h>
#ifdef WITH_URING
#include <liburing.h>
#endif

enum { GRANULE = 4096, POLLS = 4, COMPLETIONS = 1 << 16 };

static int file;

static _Noreturn void die(const char *message)
{
	perror(message);
	exit(2);
}

static void handler(int sig)
{
}

static void start_timer(int flags, bool blocked)
{
	const struct sigaction action = { .sa_handler = handler,
					  .sa_flags = flags };
	const struct itimerval each_ms = { { 0, 1000 }, { 0, 1000 } };
	sigset_t alarm;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	if (sigaction(SIGALRM, &action, NULL) < 0 ||
	    (blocked && sigprocmask(SIG_BLOCK, &alarm, NULL) < 0) ||
	    setitimer(ITIMER_REAL, &each_ms, NULL) < 0)
		die("setitimer");
}

#ifdef WITH_URING
static void *add_events(void *data)
{
	const unsigned long long one = 1;

	while (write(*(int *)data, &one, sizeof(one)) > 0)
		(void)usleep(1000);
	return NULL;
}

static void start_uring(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_CQSIZE,
					  .cq_entries = COMPLETIONS };
	static struct io_uring ring;
	static int event;
	pthread_t thread;

	event = eventfd(0, EFD_NONBLOCK);
	if (event < 0 || io_uring_queue_init_params(POLLS, &ring, &params))
		die("io_uring");
	for (int i = 0; i < POLLS; i++)
		io_uring_prep_poll_multishot(io_uring_get_sqe(&ring), event,
					     POLLIN);
	if (io_uring_submit(&ring) != POLLS ||
	    pthread_create(&thread, NULL, add_events, &event))
		die("io_uring");
}
#else
static void start_uring(void)
{
}
#endif

static void start_signals(const char *kind)
{
	if (strcmp(kind, "uring") == 0)
		start_uring();
	else
		start_timer(strcmp(kind, "restart") == 0 ? SA_RESTART : 0,
			    strcmp(kind, "blocked") == 0);
}

static void *exit_soon(void *data)
{
	(void)usleep(1000);
	exit(0);
}

static void print_result(const char *action, int result)
{
	printf("%s %s\n", action, result ? strerror(errno) : "OK");
}

static void run_action(const char *action)
{
	pthread_t thread;

	if (strcmp(action, "fsync") == 0) {
		print_result(action, fsync(file));
		return;
	}
	if (strcmp(action, "close") == 0) {
		print_result(action, close(file));
		return;
	}
	if (strcmp(action, "exit") == 0)
		exit(0);
	if (strcmp(action, "exit-beside") == 0 &&
	    pthread_create(&thread, NULL, exit_soon, NULL))
		die("thread");
	for (;;)
		(void)pause();
}

int main(int argc, char **argv)
{
	long count = argc > 3 ? atol(argv[2]) : 0;

	file = count ? open(argv[1], O_RDWR) : -1;
	if (file < 0)
		die("usage: flusher FILE COUNT ACTION [SIGNALS]");
	for (off_t i = 0; i < count; i++)
		if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      2 * i * GRANULE, GRANULE) < 0)
			die("fallocate");
	printf("ready\n");
	(void)fflush(stdout);
	if (argc > 4)
		start_signals(argv[4]);
	run_action(argv[3]);
	return 0;
}
