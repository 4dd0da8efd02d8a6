/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Questions that a child process asks, because one may hang. A question that
 * hangs does so in pause(2): it never returns, and the worker has to be killed.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/ask.h"

enum {
	N = 200,
};

/* Memory that the child shares, for facts that are not in its answers. */
struct shared {
	_Atomic pid_t worker;
	atomic_uint asked;
};

struct questions {
	struct shared *shared;
	size_t hanging; /* this question hangs */
	int fd;		/* open in this process */
	pid_t here;
};

static struct shared *share(void)
{
	struct shared *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(shared, MAP_FAILED);
	return shared;
}

static void assert_no_child(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

/* Whether a process runs. A killed one counts as ended before init reaps it. */
static bool runs(pid_t pid)
{
	char path[32], state = 'X';
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	(void)fscanf(file, "%*d (%*[^)]) %c", &state);
	(void)fclose(file);
	return state != 'Z' && state != 'X';
}

static struct bsp_answer answer_with_pid(const void *data, size_t i)
{
	const struct questions *questions = data;

	atomic_fetch_add(&questions->shared->asked, 1);
	if (i == questions->hanging) {
		atomic_store(&questions->shared->worker, getpid());
		for (;;)
			pause();
	}
	return (struct bsp_answer){ .ino = i, .dev = (dev_t)getpid() };
}

static void one_child_gives_all_answers(void **state)
{
	struct questions questions = { .shared = share(), .hanging = N };
	struct bsp_answer answers[N];

	bsp_ask_in_child(answer_with_pid, &questions, N, BSP_ASK_PATIENCE_MS,
			 answers);
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(answers[i].r, 0);
		assert_int_equal(answers[i].ino, i);
		assert_int_equal(answers[i].dev, answers[0].dev);
	}
	assert_int_not_equal(answers[0].dev, getpid());
	assert_int_equal(questions.shared->asked, N);
	assert_no_child();
}

/* Asks N questions, of which one hangs. Returns whether each other one was
 * answered: on a busy machine one may take longer than this waits. */
static bool ask_while_one_hangs(const struct questions *questions,
				struct bsp_answer answers[N])
{
	bool all = true;

	bsp_ask_in_child(answer_with_pid, questions, N, BSP_ASK_PATIENCE_MS,
			 answers);
	for (size_t i = 0; i < N; i++) {
		if (i == questions->hanging)
			assert_int_equal(answers[i].r, -ETIMEDOUT);
		else if (answers[i].r == 0)
			assert_int_equal(answers[i].ino, i);
		else
			all = false;
	}
	return all;
}

static void a_second_child_asks_the_rest_after_one_that_hangs(void **state)
{
	struct questions questions = { .shared = share(), .hanging = 7 };
	struct bsp_answer answers[N];
	int tries = 1;

	while (!ask_while_one_hangs(&questions, answers)) {
		assert_true(tries++ < 10);
		questions.shared->asked = 0;
	}
	assert_int_not_equal(answers[6].dev, answers[8].dev);
	assert_int_equal(questions.shared->asked, N);
	assert_no_child();
	while (runs(questions.shared->worker))
		usleep(1000);
}

static struct bsp_answer answer_if_open(const void *data, size_t i)
{
	const struct questions *questions = data;

	return (struct bsp_answer){
		.r = fcntl(questions->fd, F_GETFD) < 0 ? -errno : 0,
	};
}

static void the_child_holds_no_descriptor(void **state)
{
	struct questions questions = { .fd = open("/dev/null", O_RDONLY) };
	struct bsp_answer answer = { 0 };

	assert_true(questions.fd >= 0);
	bsp_ask_in_child(answer_if_open, &questions, 1, BSP_ASK_PATIENCE_MS,
			 &answer);
	assert_int_equal(answer.r, -EBADF);
	assert_true(fcntl(questions.fd, F_GETFD) >= 0);
	close(questions.fd);
}

static struct bsp_answer exit_unless_in_parent(const void *data, size_t i)
{
	const struct questions *questions = data;

	if (getpid() != questions->here)
		_exit(1);
	return (struct bsp_answer){ .ino = i };
}

static void without_a_child_this_process_asks(void **state)
{
	struct questions questions = { .here = getpid() };
	struct bsp_answer answers[N];

	bsp_ask_in_child(exit_unless_in_parent, &questions, N,
			 BSP_ASK_PATIENCE_MS, answers);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(answers[i].ino, i);
	assert_no_child();
}

static volatile sig_atomic_t signals;

static void count_signal(int sig)
{
	signals++;
}

/* Signals interrupt the wait; each must not start the time limit anew. */
static void signals_do_not_prolong_the_wait(void **state)
{
	const struct itimerval often = { { 0, 5000 }, { 0, 5000 } };
	const struct itimerval never = { { 0 } };
	struct questions questions = { .shared = share(), .hanging = 0 };
	const struct sigaction action = { .sa_handler = count_signal };
	struct bsp_answer answers[2];
	int tries = 1;

	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	do {
		/* On a busy machine the other answer may take too long. */
		assert_true(tries++ < 10);
		assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
		bsp_ask_in_child(answer_with_pid, &questions, 2,
				 BSP_ASK_PATIENCE_MS, answers);
		assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
		assert_true(signals > 0);
		assert_int_equal(answers[0].r, -ETIMEDOUT);
	} while (answers[1].r != 0);
}

static void bsp_ask_path_returns_the_file_of_a_path(void **state)
{
	const char *paths[] = { "/dev/null", "/nowhere/at/all" };
	struct bsp_answer answers[2];
	struct stat st;

	assert_int_equal(stat("/dev/null", &st), 0);
	bsp_ask_in_child(bsp_ask_path, paths, 2, BSP_ASK_PATIENCE_MS, answers);
	assert_int_equal(answers[0].r, 0);
	assert_int_equal(answers[0].dev, st.st_dev);
	assert_int_equal(answers[0].ino, st.st_ino);
	assert_int_equal(answers[0].rdev, 0); /* no block device */
	assert_int_equal(answers[1].r, -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_child_gives_all_answers),
		cmocka_unit_test(
			a_second_child_asks_the_rest_after_one_that_hangs),
		cmocka_unit_test(the_child_holds_no_descriptor),
		cmocka_unit_test(without_a_child_this_process_asks),
		cmocka_unit_test(signals_do_not_prolong_the_wait),
		cmocka_unit_test(bsp_ask_path_returns_the_file_of_a_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
