/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * open-race DEVICE FILE ROUNDS: FILE is the file that shows DEVICE. Each round
 * reads all of FILE into the kernel's cache and closes it. Then it writes to
 * DEVICE directly: a number in one page, and zeros and data by turns in
 * another. Four processes open FILE at once and read both pages through the
 * cache. The program fails if one of them reads old bytes.
 */
#include <err.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPENERS = 4, PAGE = 4096, NUMBER_PAGE = 3000, TURN_PAGE = 3500 };

struct shared {
	atomic_int round, done, stale;
};

static const char *device, *file;

static int in_turn(int round)
{
	return round % 2 ? round : 0;
}

static int number_at(int fd, off_t page)
{
	int number;

	if (pread(fd, &number, sizeof(number), page * PAGE) != sizeof(number))
		err(2, "read %s", file);
	return number;
}

static int open_file(void)
{
	int fd = open(file, O_RDONLY);

	if (fd < 0)
		err(2, "open %s", file);
	return fd;
}

static void opener(struct shared *shared, int rounds)
{
	for (int round = 1; round <= rounds; round++) {
		int fd;

		while (atomic_load(&shared->round) < round)
			usleep(20);
		fd = open_file();
		if (number_at(fd, NUMBER_PAGE) != round ||
		    number_at(fd, TURN_PAGE) != in_turn(round))
			atomic_fetch_add(&shared->stale, 1);
		close(fd);
		atomic_fetch_add(&shared->done, 1);
	}
}

static void read_all(void)
{
	static char buf[1 << 20];
	int fd = open_file();

	while (read(fd, buf, sizeof(buf)) > 0)
		;
	close(fd);
}

static void write_number(int fd, int *page, int number, off_t at)
{
	memset(page, 0, PAGE);
	page[0] = number;
	if (pwrite(fd, page, PAGE, at * PAGE) != PAGE)
		err(2, "write %s", device);
}

static void race(struct shared *shared, int rounds)
{
	int fd = open(device, O_WRONLY | O_DIRECT);
	int *page = aligned_alloc(PAGE, PAGE);

	if (fd < 0)
		err(2, "open %s", device);
	for (int round = 1; round <= rounds; round++) {
		read_all();
		/* The pause ends from just after the look that a close
		 * triggers to long after it. */
		usleep((useconds_t)(round % 10 * 3000));
		write_number(fd, page, round, NUMBER_PAGE);
		write_number(fd, page, in_turn(round), TURN_PAGE);
		atomic_store(&shared->round, round);
		while (atomic_load(&shared->done) < round * OPENERS)
			usleep(50);
	}
	free(page);
	close(fd);
}

int main(int argc, char **argv)
{
	int rounds = argc == 4 ? atoi(argv[3]) : 0, status;
	struct shared *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (rounds <= 0 || shared == MAP_FAILED)
		errx(2, "usage: open-race DEVICE FILE ROUNDS");
	device = argv[1];
	file = argv[2];
	for (int i = 0; i < OPENERS; i++) {
		if (fork() == 0) {
			opener(shared, rounds);
			_exit(0);
		}
	}
	race(shared, rounds);
	while (wait(&status) > 0) {
		if (status)
			errx(2, "an opener failed");
	}
	printf("%d of %d openings read old bytes\n",
	       atomic_load(&shared->stale), rounds * OPENERS);
	return atomic_load(&shared->stale) != 0;
}
