/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking questions in a child process. This process forks a guard, and the
 * guard forks the worker, which asks. The guard never waits for a device, so
 * this process can always kill and reap it. The kernel kills the worker when
 * the guard ends, and init reaps the worker.
 *
 * The worker writes answers to a pipe, in order, as it gets them. If the next
 * answer does not come in time, this process ends the guard, notes that the
 * question hangs, and starts another pair for the rest.
 */
#include "device/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/range.h"

enum {
	PATIENCE_MIN_MS = 20,
	ANSWERS_FD = 0,	      /* the worker's end of the pipe */
	CLOSED_FILES = 65536, /* at most, without close_range() (Linux 5.9) */
};

struct questions {
	bsp_ask_fn ask;
	const void *all;
	size_t from, to; /* those to ask */
};

/* --- The guard and the worker --- */

static void close_above(int fd)
{
	struct rlimit files = { 0 };

	if (close_range((unsigned)fd + 1, ~0U, 0) == 0)
		return;
	(void)getrlimit(RLIMIT_NOFILE, &files);
	for (int max = (int)bsp_min(files.rlim_cur, CLOSED_FILES); ++fd < max;)
		close(fd);
}

/* Has the kernel kill this process when its parent ends. */
static void die_with_parent(pid_t parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

static _Noreturn void work(const struct questions *questions, pid_t guard)
{
	die_with_parent(guard);
	for (size_t i = questions->from; i < questions->to; i++) {
		struct bsp_answer answer = questions->ask(questions->all, i);

		if (write(ANSWERS_FD, &answer, sizeof(answer)) !=
		    sizeof(answer))
			break;
	}
	_exit(0);
}

/* Runs until it is killed, so that no other process gets its number. */
static _Noreturn void guard(const struct questions *questions, int answers,
			    pid_t parent)
{
	pid_t self = getpid();

	die_with_parent(parent);
	(void)dup2(answers, ANSWERS_FD);
	close_above(ANSWERS_FD);
	if (chdir("/") == 0 && _Fork() == 0)
		work(questions, self);
	close(ANSWERS_FD);
	for (;;)
		pause();
}

/* --- The parent --- */

struct child {
	pid_t guard;
	int answers; /* the end of the pipe to read from */
};

/* Signals are blocked in the child: their handlers belong to the program. */
static bool start_child(const struct questions *questions,
			struct child *ret_child)
{
	pid_t parent = getpid();
	sigset_t all, before;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	ret_child->guard = fork();
	if (ret_child->guard == 0)
		guard(questions, fds[1], parent);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(fds[1]);
	ret_child->answers = fds[0];
	if (ret_child->guard > 0)
		return true;
	close(fds[0]);
	return false;
}

static void end_child(const struct child *child)
{
	close(child->answers);
	(void)kill(child->guard, SIGKILL);
	while (waitpid(child->guard, NULL, 0) < 0 && errno == EINTR)
		;
}

static bool is_silent(int fd, int patience_ms)
{
	struct pollfd answers = { .fd = fd, .events = POLLIN };
	int64_t end = g_get_monotonic_time() / 1000 + patience_ms;
	int64_t left = patience_ms;
	int r;

	while ((r = poll(&answers, 1, (int)left)) < 0 && errno == EINTR) {
		left = end - g_get_monotonic_time() / 1000;
		if (left < 0)
			left = 0;
	}
	return r <= 0;
}

/* An answer is shorter than PIPE_BUF, so it comes whole: pipe(7). */
static bool receive(int fd, struct bsp_answer *ret_answer)
{
	ssize_t n;

	do
		n = read(fd, ret_answer, sizeof(*ret_answer));
	while (n < 0 && errno == EINTR);
	return n == sizeof(*ret_answer);
}

/* Receives answers, and raises questions->from for each. Returns true if the
 * next question hangs. */
static bool hangs(const struct child *child, int patience_ms,
		  struct questions *questions, struct bsp_answer *answers)
{
	for (; questions->from < questions->to; questions->from++) {
		if (is_silent(child->answers, patience_ms))
			return true;
		if (!receive(child->answers, &answers[questions->from]))
			return false;
	}
	return false;
}

void bsp_ask_in_child(bsp_ask_fn ask, const void *questions, size_t n,
		      int patience_ms, struct bsp_answer *ret_answers)
{
	struct questions left = { .ask = ask, .all = questions, .to = n };
	struct child child;
	bool silent = true;

	while (silent && left.from < n && start_child(&left, &child)) {
		silent = hangs(&child, patience_ms, &left, ret_answers);
		end_child(&child);
		if (silent)
			ret_answers[left.from++].r = -ETIMEDOUT;
		patience_ms = MAX(patience_ms / 2, PATIENCE_MIN_MS);
	}
	for (; left.from < n; left.from++)
		ret_answers[left.from] = ask(questions, left.from);
}

struct bsp_answer bsp_ask_path(const void *paths, size_t i)
{
	struct stat st;

	if (stat(((const char *const *)paths)[i], &st) < 0)
		return (struct bsp_answer){ .r = -errno };
	return (struct bsp_answer){
		.dev = st.st_dev,
		.ino = st.st_ino,
		.rdev = S_ISBLK(st.st_mode) ? st.st_rdev : 0,
	};
}
